// A libcuda whose memory is the host's and whose kernels do nothing; it says what it was called with. It shows that the calls of
// backends/cuda/nvidia.py go through NVIDIA's bindings, of any version, with arguments of the right kinds and order.
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long u64;
typedef void* ptr;

static int say(const char* format, ...) {
    va_list more;
    va_start(more, format);
    vfprintf(stdout, format, more);
    va_end(more);
    fflush(stdout);
    return 0;
}

int cuInit(unsigned flags) { return say("cuInit %u\n", flags); }
int cuDriverGetVersion(int* v) { *v = atoi(getenv("STUB_VERSION") ? getenv("STUB_VERSION") : "13000"); return 0; }
int cuDeviceGet(int* d, int i) { *d = i; return 0; }
int cuDeviceGetCount(int* n) { *n = 1; return 0; }
int cuDeviceGetName(char* name, int n, int d) { strncpy(name, "stub", n); return 0; }
int cuDeviceTotalMem_v2(size_t* n, int d) { *n = 1ull << 34; return 0; }
int cuDeviceGetAttribute(int* v, int a, int d) { *v = a == 75 ? 9 : a == 76 ? 0 : a == 16 ? 132 : a == 97 ? 232448 : -1; return 0; }
int cuDevicePrimaryCtxRetain(ptr* c, int d) { *c = (ptr)0x11; return say("cuDevicePrimaryCtxRetain %d\n", d); }
int cuCtxSetCurrent(ptr c) { return say("cuCtxSetCurrent %p\n", c); }
int cuCtxSynchronize(void) { return say("cuCtxSynchronize\n"); }
int cuMemGetInfo_v2(size_t* f, size_t* t) { *f = 5, *t = 6; return 0; }
int cuMemAlloc_v2(u64* p, size_t n) {
    if (n > 1ull << 33) return 2;
    *p = (u64)aligned_alloc(512, n);
    return say("cuMemAlloc %zu\n", n);
}
int cuMemFree_v2(u64 p) { free((ptr)p); return say("cuMemFree\n"); }
int cuMemHostAlloc(ptr* p, size_t n, unsigned flags) { *p = malloc(n); return say("cuMemHostAlloc %zu %u\n", n, flags); }
int cuMemFreeHost(ptr p) { free(p); return say("cuMemFreeHost\n"); }
int cuMemcpyHtoDAsync_v2(u64 to, const ptr of, size_t n, ptr s) { memcpy((ptr)to, of, n); return say("HtoD %zu %p\n", n, s); }
int cuMemcpyDtoHAsync_v2(ptr to, u64 of, size_t n, ptr s) { memcpy(to, (ptr)of, n); return say("DtoH %zu %p\n", n, s); }
int cuMemcpyDtoDAsync_v2(u64 to, u64 of, size_t n, ptr s) { memmove((ptr)to, (ptr)of, n); return say("DtoD %zu %p\n", n, s); }
int cuMemsetD8Async(u64 p, unsigned char v, size_t n, ptr s) { memset((ptr)p, v, n); return say("memset %d %zu %p\n", v, n, s); }
int cuModuleLoadData(ptr* m, const ptr image) { *m = (ptr)0x22; return memcmp(image, "\177ELF", 4) ? 200 : say("cuModuleLoadData\n"); }
int cuModuleGetFunction(ptr* f, ptr m, const char* name) { *f = (ptr)0x33; return say("cuModuleGetFunction %p %s\n", m, name); }
int cuFuncSetAttribute(ptr f, int a, int v) { return say("cuFuncSetAttribute %p %d %d\n", f, a, v); }
int cuLaunchKernel(ptr f, unsigned a, unsigned b, unsigned c, unsigned x, unsigned y, unsigned z, unsigned shared, ptr s, ptr* p, ptr* e) {
    if (x > 1024) return 1;
    return say("cuLaunchKernel %p %u %u %u %u %u %u %u %p %d %lld %p\n", f, a, b, c, x, y, z, shared, s, **(float**)p[0] == 7.0f,
               *(long long*)p[3], e);
}
int cuStreamCreate(ptr* s, unsigned flags) { static u64 n = 0x100; *s = (ptr)n++; return say("cuStreamCreate %u\n", flags); }
int cuStreamSynchronize(ptr s) { return s == (ptr)0x999 ? 700 : say("cuStreamSynchronize %p\n", s); }
int cuEventCreate(ptr* e, unsigned flags) { static u64 n = 0x400; *e = (ptr)n++; return say("cuEventCreate %u\n", flags); }
int cuEventDestroy_v2(ptr e) { return say("cuEventDestroy %p\n", e); }
int cuEventRecord(ptr e, ptr s) { return say("cuEventRecord %p %p\n", e, s); }
int cuStreamWaitEvent(ptr s, ptr e, unsigned flags) { return say("cuStreamWaitEvent %p %p %u\n", s, e, flags); }
int cuEventSynchronize(ptr e) { return say("cuEventSynchronize %p\n", e); }
int cuEventElapsedTime(float* ms, ptr a, ptr b) { *ms = 1.5f; return say("cuEventElapsedTime %p %p\n", a, b); }
int cuStreamBeginCapture_v2(ptr s, int mode) { return say("cuStreamBeginCapture %p %d\n", s, mode); }
int cuStreamEndCapture(ptr s, ptr* g) { *g = (ptr)0x55; return say("cuStreamEndCapture %p\n", s); }
int cuGraphInstantiateWithFlags(ptr* x, ptr g, u64 flags) { *x = (ptr)0x66; return say("cuGraphInstantiate %p %llu\n", g, flags); }
int cuGraphDestroy(ptr g) { return say("cuGraphDestroy %p\n", g); }
int cuGraphExecDestroy(ptr g) { return say("cuGraphExecDestroy %p\n", g); }
int cuGraphLaunch(ptr g, ptr s) { return say("cuGraphLaunch %p %p\n", g, s); }
int cuPointerGetAttribute(ptr v, int a, u64 p) { *(int*)v = 0; return say("cuPointerGetAttribute %d\n", a); }
int cuGetErrorString(int error, const char** text) { *text = "as told"; return 0; }

int cuGetProcAddress_v2(const char* name, ptr* f, int version, u64 flags, int* status) {
    ptr self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    const char* ends[] = {"_v2", "", "WithFlags"};
    char whole[200];
    *f = 0;
    for (int i = 0; i < 3 && !*f; ++i) {
        snprintf(whole, sizeof whole, "%s%s", name, ends[i]);
        *f = dlsym(self, whole);
    }
    if (status) *status = !*f;
    return *f ? 0 : 500;
}
int cuGetProcAddress(const char* name, ptr* f, int version, u64 flags) { return cuGetProcAddress_v2(name, f, version, flags, 0); }
