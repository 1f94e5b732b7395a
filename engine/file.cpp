// file.cpp - reading and writing whole files.
#include "file.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace {

// A descriptor that closes itself.
struct Descriptor {
    int fd;
    ~Descriptor() {
        if (fd >= 0) close(fd);
    }
};

[[noreturn]] void fail_to_read(const std::string& path, const char* why) {
    fail(Exit::bad_input, "%s: cannot be read: %s", path.c_str(), why);
}

// Opens for reading; `pipes`: a pipe will do. Waiting for a pipe's other end is then what the user asked for.
int open_to_read(const std::string& path, bool pipes, struct stat* st) {
    if (stat(path.c_str(), st) != 0) fail_to_read(path, strerror(errno));
    if (S_ISDIR(st->st_mode)) fail_to_read(path, "it is a folder, a file is expected");
    if (!S_ISREG(st->st_mode) && !(pipes && S_ISFIFO(st->st_mode))) fail_to_read(path, "it is not a plain file");
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail_to_read(path, strerror(errno));
    if (fstat(fd, st) != 0) {
        const int error = errno;
        close(fd);
        fail_to_read(path, strerror(error));
    }
    return fd;
}

std::string folder_of(const std::string& path) {
    const size_t slash = path.rfind('/');
    return slash == path.npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

// What `path` stands for, through links, if it is there.
std::string target_of(const std::string& path) {
    struct stat st;
    if (stat(path.c_str(), &st) != 0) return path;
    if (!S_ISREG(st.st_mode))
        fail(Exit::bad_input, "%s: is not a plain file and would be replaced by one", path.c_str());
    char* real = realpath(path.c_str(), nullptr);
    if (!real) return path;
    const std::string target = real;
    free(real);
    return target;
}

// Names of temporary files, where a signal handler finds them. More than this many at once are not noted.
std::atomic<const char*> unfinished[64];

void note(const char* name) {
    for (auto& slot : unfinished) {
        const char* none = nullptr;
        if (slot.compare_exchange_strong(none, name)) return;
    }
}
void forget(const char* name) {
    for (auto& slot : unfinished) {
        const char* it = name;
        if (slot.compare_exchange_strong(it, nullptr)) return;
    }
}

// A new file in the folder of `path` under a name of its own, which is noted. Noted before the file is there: a signal
// between the two would leave it behind. -1: errno says why, and nothing is noted.
int open_temporary(const std::string& path, std::string& name) {
    static std::atomic<unsigned> count{0};
    const std::string base = path.substr(path.rfind('/') + 1), folder = folder_of(path);
    for (;;) {
        name = format("%s/.%s.%d.%u.tmp", folder.c_str(), base.substr(0, 200).c_str(), int(getpid()), count++);
        note(name.c_str());
        const int fd = open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) return fd;
        const int error = errno;
        forget(name.c_str());
        errno = error;
        if (error != EEXIST && error != EINTR) return -1;      // EEXIST: the remains of a run that was killed
    }
}

}  // namespace

void fail_to_write(const std::string& path, const char* doing, uint64_t bytes, int error) {
    const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG || error == EIO || error == ENOMEM ||
                      error == EMFILE || error == ENFILE;
    fail(full ? Exit::no_resource : Exit::bad_input, "%s: %s (%lu bytes) failed: %s; %s", path.c_str(), doing,
         bytes, strerror(error),
         full ? "make room or write elsewhere" : "the folder must exist and be yours to write in");
}

void remove_unfinished_files() {
    for (auto& slot : unfinished)
        if (const char* name = slot) unlink(name);
}

Mapped::Mapped(const std::string& name) : path(name) {
    struct stat st;
    const Descriptor file{open_to_read(path, false, &st)};
    size = size_t(st.st_size);
    if (size == 0) return;          // an empty mapping is an error to mmap
    void* p = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
    if (p == MAP_FAILED)
        fail(errno == ENOMEM ? Exit::no_resource : Exit::bad_input, "%s: cannot be mapped (%zu bytes): %s",
             path.c_str(), size, strerror(errno));
    data = (const char*)p;
}

Mapped::~Mapped() {
    if (data) munmap((void*)data, size);
}

void Mapped::drop() const {
    if (data) madvise((void*)data, size, MADV_DONTNEED);
}

std::string read_file(const std::string& path, size_t max_bytes) {
    struct stat st;
    const Descriptor file{open_to_read(path, true, &st)};
    const auto too_large = [&] {
        fail(Exit::bad_input, "%s: is larger than the %zu bytes that are read here", path.c_str(), max_bytes);
    };
    if (uint64_t(st.st_size) > max_bytes) too_large();
    std::string bytes(size_t(st.st_size) + 1, '\0');        // the byte more is where the end of the file is noticed
    size_t used = 0;
    for (;;) {
        if (used == bytes.size()) bytes.resize(used * 2 + 65536);
        const ssize_t n = read(file.fd, bytes.data() + used, bytes.size() - used);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail_to_read(path, strerror(errno));
        if (n == 0) break;
        used += size_t(n);
        if (used > max_bytes) too_large();
    }
    bytes.resize(used);
    return bytes;
}

void read_lines(const std::string& path, size_t max_line, const std::function<void(std::string_view, int)>& each) {
    struct stat st;
    const Descriptor file{path == "-" ? dup(0) : open_to_read(path, true, &st)};
    const std::string who = path == "-" ? "standard input" : path;
    if (file.fd < 0) fail_to_read(who, strerror(errno));
    std::string text;                   // no newline before `from`
    size_t from = 0;
    for (int number = 1;;) {
        size_t done = 0;
        for (size_t end; (end = text.find('\n', from)) != text.npos; done = from = end + 1)
            each(std::string_view(text).substr(done, end - done), number++);
        text.erase(0, done);
        from = text.size();
        if (text.size() > max_line)
            fail(Exit::bad_input, "%s:%d: a line of more than %zu bytes", who.c_str(), number, max_line);
        const size_t used = text.size();
        text.resize(used + 65536);
        ssize_t n;
        do n = read(file.fd, text.data() + used, 65536);
        while (n < 0 && errno == EINTR);
        if (n < 0) fail_to_read(who, strerror(errno));
        text.resize(used + size_t(n));
        if (n > 0) continue;
        if (!text.empty()) each(text, number);
        return;
    }
}

bool exists(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) == 0;
}

bool is_folder(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

AtomicFile::AtomicFile(const std::string& path) : path_(target_of(path)) {
    if (path_.empty() || path_.ends_with('/')) fail(Exit::bad_input, "'%s' is not the name of a file", path.c_str());
    fd_ = open_temporary(path_, temp_);
    if (fd_ >= 0) return;
    temp_.clear();
    fail_to_write(path_, "creating it", 0, errno);
}

AtomicFile::~AtomicFile() {
    if (fd_ >= 0) close(fd_);
    if (temp_.empty()) return;
    unlink(temp_.c_str());
    forget(temp_.c_str());
}

void AtomicFile::reserve(uint64_t bytes) {
    if (bytes == 0) return;
    int error;
    do error = posix_fallocate(fd_, 0, off_t(bytes));
    while (error == EINTR);
    if (error == 0 || error == EOPNOTSUPP || error == EINVAL) return;       // not every file system can
    struct statvfs fs;
    if (error == ENOSPC && fstatvfs(fd_, &fs) == 0)
        fail(Exit::no_resource, "%s: needs %lu bytes, the disk has %lu free; make room or write elsewhere",
             path_.c_str(), bytes, (uint64_t(fs.f_bavail) * fs.f_frsize));
    fail_to_write(path_, "reserving room", bytes, error);
}

void AtomicFile::write(const void* data, size_t n) { write_at(end_, data, n); }

void AtomicFile::write_at(uint64_t offset, const void* data, size_t n) {
    require(fd_ >= 0, "%s: written after commit", path_.c_str());
    for (size_t done = 0; done < n;) {
        const ssize_t step = pwrite(fd_, (const char*)data + done, n - done, off_t(offset + done));
        if (step < 0 && errno == EINTR) continue;
        if (step <= 0) fail_to_write(path_, "writing", n, step < 0 ? errno : EIO);
        done += size_t(step);
    }
    // What is large is on its way to the disk while more is made, so that commit() need not wait for all of it.
    if (n >> 20) sync_file_range(fd_, off_t(offset), off_t(n), SYNC_FILE_RANGE_WRITE);
    end_ = std::max(end_, offset + n);
}

void AtomicFile::commit() {
    require(fd_ >= 0, "%s: committed twice", path_.c_str());
    if (ftruncate(fd_, off_t(end_)) != 0) fail_to_write(path_, "cutting it to length", end_, errno);
    if (fsync(fd_) != 0) fail_to_write(path_, "fsync", end_, errno);
    const int fd = fd_;
    fd_ = -1;
    if (close(fd) != 0 && errno != EINTR) fail_to_write(path_, "closing", end_, errno);
    if (rename(temp_.c_str(), path_.c_str()) != 0) fail_to_write(path_, "giving it its name", end_, errno);
    forget(temp_.c_str());
    temp_.clear();
    sync_folder(folder_of(path_));
}

int open_nameless(const std::string& beside) {
    std::string name;
    const int fd = open_temporary(beside, name);
    if (fd < 0) fail_to_write(beside, "making a temporary file beside it", 0, errno);
    unlink(name.c_str());
    forget(name.c_str());
    return fd;
}

void write_file(const std::string& path, std::string_view bytes) {
    AtomicFile file(path);
    file.write(bytes);
    file.commit();
}

void make_folders(const std::string& path) {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) fail_to_write(path, "making the folder", 0, error.value());
    if (!is_folder(path)) fail(Exit::bad_input, "%s: is a file, a folder is expected", path.c_str());
}

void sync_folder(const std::string& path) {
    const Descriptor folder{open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (folder.fd < 0) fail_to_write(path, "opening the folder", 0, errno);
    // Some file systems have nothing to sync in a folder and say so with EINVAL.
    if (fsync(folder.fd) != 0 && errno != EINVAL && errno != EROFS) fail_to_write(path, "fsync of it", 0, errno);
}
