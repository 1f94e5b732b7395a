// gym_task.cpp - a model answers the gym's items, greedily; gym_score.cpp judges, gym_report.cpp compares.
#include "task.h"

namespace {

struct Gym : Task {
    TaskOptions options;
    std::vector<gym::Item> all;
    std::vector<std::vector<int>> prompts;

    Gym(Session& s, const TaskOptions& o) : options(o), all(gym::items(o.gym)) {
        s.need_tokenizer();
        RowReader reader = s.reader();
        if (!reader.chat)
            fail(Exit::bad_input, "%s: no chat format is known for this model; --chat-format NAME chooses one",
                 s.checkpoint.path.c_str());
        reader.to_continue = true, reader.think = o.think;
        for (const gym::Item& item : all) {
            Json messages = Json::array({{{"role", "user"}, {"content", item.prompt}}});
            prompts.push_back(reader.row({{"messages", messages}}, item.name.text()).ids);
        }
    }

    size_t items() const override { return all.size(); }

    Walked walked(size_t item, const Json& answer) const override {
        int64_t n = answer["tokens"];
        return {std::ssize(prompts[item]) + n - 1, n};
    }

    void run(Session& s, const std::set<size_t>& done, const std::function<void(size_t, Json)>& keep) override {
        std::vector<Request> requests;
        std::vector<size_t> number;
        for (size_t i = 0; i < all.size(); i++)
            if (!done.count(i)) requests.push_back({prompts[i], i}), number.push_back(i);
        GenerateOptions g;
        g.max_tokens = options.max_tokens, g.slots = options.slots, g.interrupted = options.interrupted;
        g.on_done = [&](size_t r, const Answer& a) {
            keep(number[r], {{"text", a.text}, {"tokens", a.ids.size()}, {"stop", name(a.stop)}});
        };
        generate(s, requests, g);
    }

    gym::Reply reply(const Json& answer) const {
        return {answer["text"], answer["tokens"], answer["stop"] == name(Stop::length)};
    }

    Json row(size_t item, const Json& answer) const override {
        gym::Reply r = reply(answer);
        return gym::item_row(all[item], r, gym::score(all[item], r));
    }

    TaskReport report(const std::vector<TaskArm>& arms) const override {
        std::vector<gym::Arm> judged;
        for (const TaskArm& a : arms) {
            judged.push_back({a.name, {}});
            for (const Json& answer : a.answers) judged.back().replies.push_back(reply(answer));
        }
        gym::Report r = gym::report(all, judged);
        return {gym::report_json(r), gym::report_table(r)};
    }
};

}  // namespace

std::unique_ptr<Task> make_gym_task(Session& s, const TaskOptions& o) { return std::make_unique<Gym>(s, o); }
