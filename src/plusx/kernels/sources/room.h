// The memory that kernels work in, kept from call to call: one block for each thread that calls them, made before its
// parallel regions begin. So only a call as a whole can lack memory, which Python is told, and none of its threads.
#pragma once
#include <stdint.h>

#include <memory>
#include <new>

constexpr long CACHE_LINE = 64;

inline long whole_lines(long bytes) { return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE; }

// Where the next numbers go.
struct Place {
    char* at;
    template <class T>
    T* take(long count) {
        T* taken = (T*)at;
        at += whole_lines(count * sizeof(T));
        return taken;
    }
};

class Room {
    std::unique_ptr<char[]> bytes;  // not set to zero: a thread's pages are to be near the thread that first writes them
    long size = 0, each = 0;
    char* own = nullptr;

public:
    // Make room for `shared` bytes, where the answer points, and for as many of each thread's own.
    Place begin(long shared, long threads = 0, long of_each = 0) {
        each = whole_lines(of_each);
        const long needed = CACHE_LINE + whole_lines(shared) + threads * each;
        if (size < needed) {
            bytes.reset();
            size = 0;
            bytes.reset(new char[needed]);
            size = needed;
        }
        char* first = (char*)whole_lines((long)(uintptr_t)bytes.get());
        own = first + whole_lines(shared);
        return {first};
    }
    Place of(long thread) const { return {own + thread * each}; }
};

inline Room& room_of_caller() {
    static thread_local Room room;
    return room;
}

// Do a call's work; return 0, or 1 if there is no memory for it.
template <class Work>
static int with_memory(Work work) {
    try {
        work();
    } catch (const std::bad_alloc&) {
        return 1;
    }
    return 0;
}
