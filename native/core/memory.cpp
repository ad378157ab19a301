#include "core/memory.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace chainrule {

namespace {

constexpr size_t alignment = 64;
constexpr size_t huge_page = size_t{2} << 20;
constexpr int first_power = 6;                          // smallest class: 64 bytes
constexpr int steps = 4;                                // classes per power of two: at most a quarter is wasted
constexpr int classes = (48 - first_power) * steps;     // up to 2^48 bytes

// Stands in the 64 bytes before the block; in a cached block `next` chains the list of its class.
struct Header {
    Header* next;
    size_t bytes;
    int cls;
    size_t open;  // the bytes that may be touched: all, unless a sanitizer watches
};
static_assert(sizeof(Header) <= alignment);

/// Under the address sanitizer: of a block, only the first `bytes` may be touched from now on.
void open(Header* block, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
    char* data = reinterpret_cast<char*>(block) + alignment;
    ASAN_UNPOISON_MEMORY_REGION(data, bytes);
    ASAN_POISON_MEMORY_REGION(data + bytes, block->bytes - bytes);
    ASAN_POISON_MEMORY_REGION(block + 1, alignment - sizeof(Header));
    block->open = bytes;
#else
    block->open = block->bytes;
#endif
}

int class_of(size_t bytes) {
    if (bytes <= (size_t{1} << first_power)) return 0;
    const int power = std::bit_width(bytes - 1) - 1;  // 2^power < bytes <= 2^(power+1)
    const size_t step = (size_t{1} << power) / steps;
    const int part = static_cast<int>((bytes - (size_t{1} << power) + step - 1) / step);  // 1..steps
    return (power - first_power) * steps + part;
}

size_t bytes_of(int cls) {
    const size_t base = size_t{1} << (cls / steps + first_power);
    return base + base / steps * static_cast<size_t>(cls % steps);
}

class Pool {
  public:
    Pool() {
        const int64_t memory = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
        stats_.limit = memory / 4;
    }

    void* allocate(size_t bytes) {
        const int cls = class_of(bytes);
        if (cls >= classes) throw std::bad_alloc();
        Header* block = nullptr;
        {
            std::lock_guard lock(mutex);
            ++stats_.allocations;
            block = lists_[cls];
            if (block) {
                lists_[cls] = block->next;
                stats_.cached -= block->bytes;
                ++stats_.hits;
                count(block->bytes);
            }
        }
        if (!block) {
            block = from_system(cls);
            std::lock_guard lock(mutex);
            count(block->bytes);
        }
        void* data = reinterpret_cast<char*>(block) + alignment;
        open(block, bytes);
        if (poison_) std::memset(data, 0xff, block->open);
        return data;
    }

    void release(void* data) noexcept {
        Header* block = header(data);
        open(block, 0);
        {
            std::lock_guard lock(mutex);
            stats_.in_use -= block->bytes;
            if (stats_.cached + static_cast<int64_t>(block->bytes) <= stats_.limit) {
                block->next = lists_[block->cls];
                lists_[block->cls] = block;
                stats_.cached += block->bytes;
                return;
            }
        }
        std::free(block);
    }

    void empty() {
        std::lock_guard lock(mutex);
        for (Header*& list : lists_)
            while (Header* block = list) {
                list = block->next;
                stats_.cached -= block->bytes;
                std::free(block);
            }
    }

    static Header* header(const void* data) {
        return reinterpret_cast<Header*>(const_cast<char*>(static_cast<const char*>(data)) - alignment);
    }

    MemoryStats stats() {
        std::lock_guard lock(mutex);
        return stats_;
    }
    void limit(int64_t bytes) {
        {
            std::lock_guard lock(mutex);
            stats_.limit = bytes;
            if (stats_.cached <= bytes) return;
        }
        empty();
    }
    void poison(bool on) { poison_ = on; }

    std::mutex mutex;  // public for the fork handlers

  private:
    void count(size_t bytes) {
        stats_.in_use += bytes;
        if (stats_.in_use > stats_.peak) stats_.peak = stats_.in_use;
    }

    Header* from_system(int cls) {
        const size_t bytes = bytes_of(cls);
        const bool big = bytes >= huge_page / 2;
        const size_t unit = big ? huge_page : alignment;
        const size_t total = (bytes + alignment + unit - 1) / unit * unit;
        void* raw = std::aligned_alloc(unit, total);
        if (!raw) {
            empty();
            raw = std::aligned_alloc(unit, total);
            if (!raw) throw std::bad_alloc();
        }
#ifdef MADV_HUGEPAGE
        if (big) madvise(raw, total, MADV_HUGEPAGE);
#endif
        return new (raw) Header{nullptr, bytes, cls, bytes};
    }

    Header* lists_[classes] = {};
    MemoryStats stats_;
    bool poison_ = false;
};

// Never destroyed: arrays may outlive the module.
Pool& pool() {
    static Pool* instance = [] {
        auto* made = new Pool();
        // A fork while another thread holds the lock must not leave it locked in the child.
        pthread_atfork([] { pool().mutex.lock(); }, [] { pool().mutex.unlock(); }, [] { pool().mutex.unlock(); });
        return made;
    }();
    return *instance;
}

}  // namespace

void* allocate(size_t bytes) { return pool().allocate(bytes); }
void release(void* block) noexcept {
    if (block) pool().release(block);
}
size_t capacity(const void* block) noexcept { return Pool::header(block)->open; }
MemoryStats memory_stats() { return pool().stats(); }
void empty_cache() { pool().empty(); }
void set_cache_limit(int64_t bytes) { pool().limit(bytes); }
void set_poison(bool on) { pool().poison(on); }

}  // namespace chainrule
