#include "task.h"

const std::vector<TaskEntry>& tasks() {
    static const std::vector<TaskEntry> all = {
        {"loss", "negative log-likelihood and perplexity of the rows of --data", make_loss_task},
        {"gym", "generated problems judged by rule: verify, unsure, revise", make_gym_task},
    };
    return all;
}
