/* Counts the calls that change files below one folder, and makes the n-th fail or kills there.

   cc -shared -fPIC -o write_faults.so write_faults.c -ldl ; loaded by LD_PRELOAD, see faults.py */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static atomic_long calls;
static long fail_at = -1; /* from 1; -1: never */
static int fail_with;     /* errno; 0: SIGKILL */
static int fail_on;       /* whether later calls fail, too; on a full disk files can be deleted */

void write_faults_arm(const char *folder, long at, int error, int sticky) {
  snprintf(root, sizeof root, "%s", folder);
  atomic_store(&calls, 0);
  fail_at = at, fail_with = error, fail_on = sticky;
}

long write_faults_calls(void) { return atomic_load(&calls); }

static int fails(int frees) {
  long call = atomic_fetch_add(&calls, 1) + 1;
  if (fail_at < 0 || call < fail_at || (call > fail_at && !fail_on)) return 0;
  if (frees && fail_with == ENOSPC) return 0;
  if (!fail_with) kill(getpid(), SIGKILL), pause();
  errno = fail_with;
  return 1;
}

static int below(const char *path) { return root[0] && !strncmp(path, root, strlen(root)); }

static int fails_fd(int fd, int frees) {
  char link[64], path[PATH_MAX];
  if (!root[0]) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return below(path) && fails(frees);
}

static int fails_path(int folder, const char *path, int frees) {
  if (path[0] != '/' && folder != AT_FDCWD) return fails_fd(folder, frees);
  return below(path) && fails(frees);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OF_FD(type, name, parameters, arguments) \
  type name parameters { return fails_fd(fd, 0) ? -1 : REAL(name) arguments; }
#define OF_PATH(name, parameters, arguments, folder, path, frees) \
  int name parameters { return fails_path(folder, path, frees) ? -1 : REAL(name) arguments; }

OF_FD(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
OF_FD(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
OF_FD(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
OF_FD(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
OF_FD(ssize_t, sendfile, (int fd, int from, off_t *at, size_t size), (fd, from, at, size))
OF_FD(ssize_t, sendfile64, (int fd, int from, off64_t *at, size_t size), (fd, from, at, size))
OF_FD(int, fsync, (int fd), (fd))
OF_FD(int, fdatasync, (int fd), (fd))
OF_FD(int, ftruncate, (int fd, off_t size), (fd, size))
OF_FD(int, ftruncate64, (int fd, off64_t size), (fd, size))
OF_PATH(rename, (const char *from, const char *to), (from, to), AT_FDCWD, to, 0)
OF_PATH(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), b, to, 0)
OF_PATH(link, (const char *from, const char *to), (from, to), AT_FDCWD, to, 0)
OF_PATH(symlink, (const char *from, const char *to), (from, to), AT_FDCWD, to, 0)
OF_PATH(unlink, (const char *path), (path), AT_FDCWD, path, 1)
OF_PATH(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), folder, path, 1)
OF_PATH(rmdir, (const char *path), (path), AT_FDCWD, path, 1)
OF_PATH(mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path, 0)

static int opens(const char *name, int folder, const char *path, int flags, mode_t mode) {
  if (flags & (O_CREAT | O_TRUNC) && fails_path(folder, path, 0)) return -1;
  int (*real)(int, const char *, int, ...) = dlsym(RTLD_NEXT, name);
  return real(folder, path, flags, mode);
}

#define OPENS(name, real, folder, parameters) \
  int name parameters { \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    return opens(real, folder, path, flags, mode); \
  }
OPENS(open, "openat", AT_FDCWD, (const char *path, int flags, ...))
OPENS(open64, "openat64", AT_FDCWD, (const char *path, int flags, ...))
OPENS(openat, "openat", folder, (int folder, const char *path, int flags, ...))
OPENS(openat64, "openat64", folder, (int folder, const char *path, int flags, ...))
