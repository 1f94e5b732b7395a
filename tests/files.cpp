// files.cpp - reading whole files, hashing them, and writing them so that nothing is ever half there.
#include "files.h"
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include "../engine/file.h"
#include "../engine/names.h"
#include "faults.h"

namespace {

std::string error_of(const std::function<void()>& f, Exit code) {
    try {
        f();
    } catch (const Error& e) {
        EXPECT_EQ(e.code, code) << e.what();
        return e.what();
    }
    ADD_FAILURE() << "no error";
    return "";
}

TEST(Sha256, IsThatOfTheStandard) {
    EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    const std::string million(1'000'000, 'a');
    for (const bool plain : {false, true})
        EXPECT_EQ(sha256(million, plain), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, TheCpusInstructionsAndPlainCodeAgree) {
    std::string s;
    for (int n = 0; n < 300; n++, s += char(n * 37)) ASSERT_EQ(sha256(s), sha256(s, true)) << n;
}

TEST(Sha256, OfAFileIsThatOfItsBytes) {
    const TempFolder folder;
    const std::string bytes(3'000'001, 'x');       // more than one buffer, and a rest
    EXPECT_EQ(sha256_of_file(folder.put("f", bytes)), sha256(bytes));
    EXPECT_NE(error_of([&] { sha256_of_file(folder / "none"); }, Exit::bad_input).find("none"), std::string::npos);
    error_of([&] { sha256_of_file(folder.path); }, Exit::bad_input);
}

TEST(Files, ReadsPlainFilesAndPipes) {
    const TempFolder folder;
    const std::string path = folder.put("f", std::string("a\0b", 3));
    EXPECT_EQ(read_file(path), std::string("a\0b", 3));
    EXPECT_EQ(read_file(path, 3).size(), 3u);
    EXPECT_NE(error_of([&] { read_file(path, 2); }, Exit::bad_input).find(path), std::string::npos);
    EXPECT_EQ(read_file(folder.put("empty", "")), "");
    EXPECT_NE(error_of([&] { read_file(folder / "none"); }, Exit::bad_input).find("No such file"), std::string::npos);
    EXPECT_NE(error_of([&] { read_file(folder.path); }, Exit::bad_input).find("folder"), std::string::npos);
    EXPECT_NE(error_of([&] { read_file("/dev/zero"); }, Exit::bad_input).find("plain"), std::string::npos);

    const std::string pipe = folder / "pipe", long_text(200'000, 'p');
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    const pid_t child = fork();
    if (child == 0) {
        std::ofstream(pipe) << long_text;
        _exit(0);
    }
    EXPECT_EQ(read_file(pipe), long_text);
    waitpid(child, nullptr, 0);
    EXPECT_TRUE(exists(path) && !exists(folder / "none") && is_folder(folder.path) && !is_folder(path));
}

TEST(Files, MapsPlainFiles) {
    const TempFolder folder;
    const Mapped file(folder.put("f", "hello"));
    EXPECT_EQ(std::string_view(file.data, file.size), "hello");
    file.drop();
    EXPECT_EQ(file.data[4], 'o');
    const Mapped empty(folder.put("empty", ""));
    EXPECT_EQ(empty.size, 0u);
    empty.drop();
    error_of([&] { Mapped(folder / "none"); }, Exit::bad_input);
    error_of([&] { Mapped{folder.path}; }, Exit::bad_input);
    ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
    error_of([&] { Mapped(folder / "pipe"); }, Exit::bad_input);        // and does not wait for its other end
}

TEST(AtomicFile, TakesItsNameOnlyWithCommit) {
    const TempFolder folder;
    const std::string path = folder.put("f", "old");
    {
        AtomicFile file(path);
        file.write("half of it");
    }
    EXPECT_EQ(read_file(path), "old");
    EXPECT_EQ(folder.files(), 1u);
    {
        AtomicFile file(path);
        file.reserve(100);
        file.write("new ");
        file.write_at(6, "end", 3);
        file.write("!");
        EXPECT_EQ(read_file(path), "old");
        file.commit();
        EXPECT_THROW(file.write("more"), Error);
        EXPECT_THROW(file.commit(), Error);
    }
    EXPECT_EQ(read_file(path), std::string("new \0\0end!", 10));      // not the 100 that were reserved
    EXPECT_EQ(folder.files(), 1u);
}

TEST(AtomicFile, TwoWritersDoNotMeet) {
    const TempFolder folder;
    AtomicFile a(folder / "f"), b(folder / "f");
    a.write("from a");
    b.write("from b");
    a.commit();
    EXPECT_EQ(read_file(folder / "f"), "from a");
    b.commit();
    EXPECT_EQ(read_file(folder / "f"), "from b");
    const std::string longest(255, 'n');
    write_file(folder / longest, "x");
    EXPECT_EQ(read_file(folder / longest), "x");
    EXPECT_EQ(folder.files(), 2u);
}

TEST(AtomicFile, FollowsALinkAndReplacesNoDevice) {
    const TempFolder folder;
    const std::string real = folder.put("real", "old"), link = folder / "link";
    std::filesystem::create_symlink(real, link);
    write_file(link, "new");
    EXPECT_TRUE(std::filesystem::is_symlink(link));
    EXPECT_EQ(read_file(real), "new");
    EXPECT_NE(error_of([] { write_file("/dev/null", "x"); }, Exit::bad_input).find("/dev/null"), std::string::npos);
    EXPECT_NE(error_of([&] { write_file(folder.path, "x"); }, Exit::bad_input).find(folder.path), std::string::npos);
    error_of([&] { write_file(folder.path + "/", "x"); }, Exit::bad_input);
    error_of([&] { write_file("", "x"); }, Exit::bad_input);
    const std::string lost = folder / "no/such/f";
    EXPECT_NE(error_of([&] { write_file(lost, "x"); }, Exit::bad_input).find(lost), std::string::npos);
    EXPECT_FALSE(exists(folder / "no"));
}

// Each call to the system fails once; whatever happens, the file is the old one or the new one and nothing is left.
TEST(AtomicFile, SurvivesEveryFailureOfTheSystem) {
    const TempFolder folder;
    const std::string path = folder / "f", bytes(1000, 'n');
    bool done = false;
    int failures = 0;
    for (int at = 0; !done; at++) {
        folder.put("f", "old");
        try {
            const faults::Armed armed(at, ENOSPC);
            AtomicFile file(path);
            file.reserve(bytes.size());
            file.write(bytes);
            file.write_at(5, "x", 1);
            file.commit();
            done = armed.calls() <= at;
        } catch (const Error& e) {
            failures++;
            EXPECT_EQ(e.code, Exit::no_resource) << e.what();
            const std::string text = e.what();
            EXPECT_NE(text.find(folder.path), text.npos) << text;
            EXPECT_NE(text.find("bytes"), text.npos) << text;
        }
        const std::string now = read_file(path);
        EXPECT_TRUE(now == "old" || now.size() == bytes.size()) << at << ": " << now.size();
        EXPECT_EQ(folder.files(), 1u) << at;
        ASSERT_LT(at, 100);
    }
    EXPECT_EQ(failures, 8);     // reserve, two writes, cut, fsync, close, rename, fsync of the folder
}

TEST(AtomicFile, WritesOnAfterShortAndInterruptedWrites) {
    const TempFolder folder;
    const std::string text = "a text that needs many small writes";
    {
        const faults::Armed armed(-1, 0, true);
        write_file(folder / "f", text);
        EXPECT_GT(armed.calls(), 20);
    }
    EXPECT_EQ(read_file(folder / "f"), text);
}

// A file must be noted before it is there: once a signal came between the two, and a temporary file stayed behind.
TEST(AtomicFile, LeavesNothingBehindWheneverASignalComes) {
    const TempFolder folder;
    const std::string path = folder / "f";
    for (int round = 0; round < 300; round++) {
        const pid_t pid = fork();
        if (pid == 0) {
            signal(SIGTERM, [](int) {
                remove_unfinished_files();
                _exit(0);
            });
            for (;;) {
                const AtomicFile file(path);
                close(open_nameless(path));
            }
        }
        ASSERT_GT(pid, 0);
        usleep(useconds_t(1000 + round * 7));
        kill(pid, SIGTERM);
        int status = 0;
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        ASSERT_EQ(folder.files(), 0u) << "round " << round;
    }
}

TEST(Files, MakesFoldersLikeMkdirP) {
    const TempFolder folder;
    make_folders(folder / "a/b/c");
    make_folders(folder / "a/b/c");
    EXPECT_TRUE(is_folder(folder / "a/b/c"));
    const std::string file = folder.put("file", "");
    EXPECT_NE(error_of([&] { make_folders(file + "/x"); }, Exit::bad_input).find(file), std::string::npos);
    error_of([&] { make_folders(file); }, Exit::bad_input);
    sync_folder(folder.path);
    error_of([&] { sync_folder(folder / "none"); }, Exit::bad_input);
}

TEST(NameIndex, FindsWhatWasPutIn) {
    struct Item { std::string name; };
    std::vector<Item> items;
    NameIndex<Item> index(items);
    EXPECT_EQ(index.find("x"), nullptr);
    for (int i = 0; i < 10'000; i++) {
        items.push_back({std::to_string(i)});
        ASSERT_TRUE(index.add());
    }
    items.push_back({"77"});
    EXPECT_FALSE(index.add());
    items.pop_back();
    for (int i = 0; i < 10'000; i++) ASSERT_EQ(index.find(std::to_string(i)), &items[size_t(i)]);
    EXPECT_EQ(index.find("10000"), nullptr);
    std::reverse(items.begin(), items.end());
    index.rebuild();
    EXPECT_EQ(index.find("0"), &items.back());
}

TEST(Reader, ShowsBytesOnOneLine) {
    EXPECT_EQ(shown("plain"), "'plain'");
    EXPECT_EQ(shown("a\n\x1b[31m\x7f"), "'a\\x0a\\x1b[31m\\x7f'");
    EXPECT_EQ(shown("\xff\xc3\xa9\xc2\x9b"), "'\\xff\xc3\xa9\\xc2\\x9b'");
    EXPECT_EQ(shown(std::string(100, 'a'), 5), "'aaaaa...'");
    EXPECT_EQ(shown("aaaa\xc3\xa9", 5), "'aaaa...'");       // never half a character
}

TEST(Reader, KnowsUtf8) {
    for (const char* good : {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                             "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
        EXPECT_EQ(valid_utf8(good), strlen(good)) << shown(good);
    for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2 ", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82",
                            "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"})
        EXPECT_EQ(valid_utf8(std::string("ok") + bad), 2u) << shown(bad);
}

}  // namespace
