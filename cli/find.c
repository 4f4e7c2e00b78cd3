/* SPDX-License-Identifier: Apache-2.0
 * find.c - where the library is, where the command is, and what LD_PRELOAD becomes.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ld.so splits LD_PRELOAD at these and knows no quoting. */
#define PRELOAD_SEPARATORS " :"

static bool is_file(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISREG(st.st_mode);
}

/* Absolute, because the command may change its directory before it execs; symbolic links stay, because a
 * package upgrade moves what they point to. */
static char *absolute(const char *path)
{
    char *full = NULL;
    if (*path == '/')
        return strdup(path);
    char *here = getcwd(NULL, 0);
    if (here && asprintf(&full, "%s/%s", strcmp(here, "/") ? here : "", path) < 0)
        full = NULL;
    free(here);
    return full;
}

/* |directory| / |below| / libforkspan.so if it is there, without the dots of |below|. */
static char *library_in(const char *directory, const char *below)
{
    char *folder = NULL, *library = NULL;
    if (asprintf(&folder, "%s/%s", directory, below) < 0)
        return NULL;
    char *plain = realpath(folder, NULL);
    free(folder);
    if (plain && asprintf(&library, "%s/" LIBRARY_NAME, plain) < 0)
        library = NULL;
    free(plain);
    if (library && !is_file(library)) {
        free(library);
        library = NULL;
    }
    return library;
}

/* The folder this command is in. */
static bool own_folder(char folder[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    if (length <= 0)
        return false;
    folder[length] = 0;
    *strrchr(folder, '/') = 0;
    return true;
}

static char *library_beside_us(void)
{
    /* A build tree, a tree installed under a moved prefix, and one folder with everything in it. */
    static const char *const places[] = {".", "../shim", "../" FORKSPAN_LIBDIR_BELOW_PREFIX, "../lib"};
    char self[PATH_MAX];
    if (!own_folder(self))
        return NULL;
    char *library = NULL;
    for (size_t i = 0; !library && i < sizeof places / sizeof *places; i++)
        library = library_in(self, places[i]);
    return library;
}

char *find_library(void)
{
    char *library = NULL;
    const char *named = getenv("FORKSPAN_LIBRARY");
    if (named && *named) {
        if (!is_file(named)) {
            complain("FORKSPAN_LIBRARY names %s, which is not there", named);
            return NULL;
        }
        library = absolute(named);
    }
    if (!library)
        library = library_beside_us();
    if (!library)
        library = library_in(FORKSPAN_LIBDIR, ".");
    if (!library) {
        complain(LIBRARY_NAME " is neither beside this command nor in " FORKSPAN_LIBDIR
                              ": install it, or set FORKSPAN_LIBRARY to its path");
        return NULL;
    }
    if (strpbrk(library, PRELOAD_SEPARATORS)) {
        complain("%s cannot be preloaded: its path has a space or a colon in it", library);
        free(library);
        return NULL;
    }
    return library;
}

char *find_python(const char *library)
{
    /* installed, and in a build tree */
    static const char *const places[] = {"forkspan/python", "../python"};
    int length = (int)(strrchr(library, '/') - library);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char *file = NULL;
        if (asprintf(&file, "%.*s/%s/sitecustomize.py", length, library, places[i]) < 0)
            return NULL;
        char *found = is_file(file) ? realpath(file, NULL) : NULL;
        free(file);
        if (found) {
            *strrchr(found, '/') = 0;
            return found;
        }
    }
    return NULL;
}

char *find_exporter(void)
{
    /* As library_beside_us, and where it was installed. */
    static const char *const places[] = {"..", "../" FORKSPAN_LIBDIR_BELOW_PREFIX, "../lib", "."};
    char self[PATH_MAX], *found = NULL;
    if (own_folder(self))
        for (size_t i = 0; !found && i < sizeof places / sizeof *places; i++)
            /* a build tree calls the folder after what is in it */
            if (asprintf(&found, "%s/%s/%s/" EXPORTER_NAME, self, places[i], i ? "forkspan" : "exporter") <
                    0 ||
                !is_file(found)) {
                free(found);
                found = NULL;
            }
    if (!found && is_file(FORKSPAN_LIBDIR "/forkspan/" EXPORTER_NAME))
        found = strdup(FORKSPAN_LIBDIR "/forkspan/" EXPORTER_NAME);
    return found;
}

/* Whether execve would take it, as far as modes tell. */
static bool executable(const char *path)
{
    return is_file(path) && !faccessat(AT_FDCWD, path, X_OK, AT_EACCESS);
}

char *find_command(const char *name, int *status)
{
    *status = EXIT_NOT_FOUND;
    if (strchr(name, '/')) {
        if (executable(name))
            return strdup(name);
        if (!access(name, F_OK) || errno == EACCES)
            *status = EXIT_NOT_EXECUTABLE;
        return NULL;
    }
    if (!*name)
        return NULL;
    const char *path = getenv("PATH");
    if (!path)
        path = "/bin:/usr/bin"; /* execvp's own */
    for (const char *end;; path = end + 1) {
        end = strchrnul(path, ':');
        char *candidate = NULL;
        /* an empty entry is the current directory */
        if (asprintf(&candidate, "%.*s%s%s", (int)(end - path), path, end > path ? "/" : "./", name) < 0)
            return NULL;
        if (executable(candidate))
            return candidate;
        if (is_file(candidate))
            *status = EXIT_NOT_EXECUTABLE;
        free(candidate);
        if (!*end)
            return NULL;
    }
}

static bool is_ours(const char *entry, size_t length, const char *library)
{
    const char *slash = memrchr(entry, '/', length);
    const char *base = slash ? slash + 1 : entry;
    size_t base_length = length - (size_t)(base - entry);
    return (base_length == strlen(LIBRARY_NAME) && !memcmp(base, LIBRARY_NAME, base_length)) ||
           (library && length == strlen(library) && !memcmp(entry, library, length));
}

char *preload_with(const char *library, const char *old)
{
    if (!old)
        old = "";
    char *made = malloc((library ? strlen(library) : 0) + 1 + strlen(old) + 1);
    if (!made)
        return NULL;
    char *end = library ? stpcpy(made, library) : made;
    *end = 0;
    while (*(old += strspn(old, PRELOAD_SEPARATORS))) {
        size_t length = strcspn(old, PRELOAD_SEPARATORS);
        if (!is_ours(old, length, library)) {
            if (end > made)
                *end++ = ':';
            end = mempcpy(end, old, length);
            *end = 0;
        }
        old += length;
    }
    return made;
}
