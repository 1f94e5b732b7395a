// devices.h - the GPUs of this machine, as far as they can be told without using one.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

struct Device {
    std::string name;
    size_t memory = 0;                  // bytes, all of them
    int major = 0, minor = 0;           // compute capability
    std::string unfit;                  // why --device cuda:N would refuse it; empty: it would not
};
struct Devices {
    std::vector<Device> all;            // in the order of --device cuda:N
    std::string driver;                 // the newest CUDA that the driver can do: "13.0"; empty: there is no driver
    std::string why;                    // there are none
};
Devices cuda_devices();
