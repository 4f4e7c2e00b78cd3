/* SPDX-License-Identifier: Apache-2.0
 * refuse.c - commands that a preloaded library never gets into. ld.so would say nothing, or a warning in
 * every child; the user would wait for spans.
 */
#include "cli.h"

#include <elf.h>
#include <endian.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <linux/capability.h>

struct image {
    enum { IMAGE_UNREADABLE, IMAGE_SCRIPT, IMAGE_ELF, IMAGE_OTHER } kind;
    unsigned char class, data;
    uint16_t type, machine;     /* valid where data is this machine's byte order */
    char interpreter[PATH_MAX]; /* PT_INTERP, or the word behind #! */
    char argument[256];         /* behind that word in a script */
};

#if __BYTE_ORDER == __LITTLE_ENDIAN
#define OUR_DATA ELFDATA2LSB
#else
#define OUR_DATA ELFDATA2MSB
#endif

static bool read_at(int fd, void *to, size_t length, uint64_t at)
{
    return pread(fd, to, length, (off_t)at) == (ssize_t)length;
}

static void read_interpreter(int fd, struct image *image, uint64_t at, uint64_t length)
{
    if (length >= sizeof image->interpreter)
        length = sizeof image->interpreter - 1;
    if (read_at(fd, image->interpreter, length, at))
        image->interpreter[length] = 0;
}

/* Both classes are read, not only our own: a 32-bit library fits a 32-bit command. */
static void read_elf64(int fd, struct image *image)
{
    Elf64_Ehdr head;
    if (!read_at(fd, &head, sizeof head, 0))
        return;
    for (unsigned i = 0; i < head.e_phnum; i++) {
        Elf64_Phdr part;
        if (!read_at(fd, &part, sizeof part, head.e_phoff + (uint64_t)i * head.e_phentsize))
            return;
        if (part.p_type == PT_INTERP)
            read_interpreter(fd, image, part.p_offset, part.p_filesz);
    }
}

static void read_elf32(int fd, struct image *image)
{
    Elf32_Ehdr head;
    if (!read_at(fd, &head, sizeof head, 0))
        return;
    for (unsigned i = 0; i < head.e_phnum; i++) {
        Elf32_Phdr part;
        if (!read_at(fd, &part, sizeof part, head.e_phoff + (uint64_t)i * head.e_phentsize))
            return;
        if (part.p_type == PT_INTERP)
            read_interpreter(fd, image, part.p_offset, part.p_filesz);
    }
}

static void read_script(char *line, struct image *image)
{
    line += 2; /* #! */
    line[strcspn(line, "\n")] = 0;
    line += strspn(line, " \t");
    size_t word = strcspn(line, " \t");
    memcpy(image->interpreter, line, word);
    image->interpreter[word] = 0;
    line += word;
    line += strspn(line, " \t");
    strcpy(image->argument, line);
}

static void read_image(const char *path, struct image *image)
{
    *image = (struct image){.kind = IMAGE_UNREADABLE};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return;
    union {
        char text[256]; /* the kernel reads no more of a #! line */
        Elf32_Ehdr elf; /* up to e_version both classes are alike */
    } start;
    ssize_t length = pread(fd, start.text, sizeof start.text - 1, 0);
    start.text[length > 0 ? length : 0] = 0;
    image->kind = IMAGE_OTHER;
    if (length > 2 && !memcmp(start.text, "#!", 2)) {
        image->kind = IMAGE_SCRIPT;
        read_script(start.text, image);
    } else if (length >= (ssize_t)sizeof start.elf && !memcmp(start.text, ELFMAG, SELFMAG)) {
        image->kind = IMAGE_ELF;
        image->class = start.elf.e_ident[EI_CLASS];
        image->data = start.elf.e_ident[EI_DATA];
        image->type = start.elf.e_type;
        image->machine = start.elf.e_machine;
        if (image->data == OUR_DATA && image->class == ELFCLASS64)
            read_elf64(fd, image);
        else if (image->data == OUR_DATA && image->class == ELFCLASS32)
            read_elf32(fd, image);
    }
    close(fd);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The dynamic linker this command was built for, and the library with it; NULL if unknown. */
static const char *own_interpreter;

static int find_own_interpreter(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    for (unsigned i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_INTERP)
            own_interpreter = (const char *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    return 1; /* the first object is the program */
}

static bool same_file(const char *a, const char *b)
{
    struct stat of_a, of_b;
    return !stat(a, &of_a) && !stat(b, &of_b) && of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

static bool on_nosuid(const char *path)
{
    struct statvfs fs;
    return !statvfs(path, &fs) && (fs.f_flag & ST_NOSUID);
}

/* Why the kernel would set AT_SECURE for |path|, so that ld.so ignores a preload with a slash in it; NULL if
 * it would not. The rules are those of cap_bprm_creds_from_file() in Linux. */
static const char *secure_because(const char *path)
{
    struct stat st;
    if (stat(path, &st))
        return NULL;
    bool id_bits_count = !on_nosuid(path) && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
    uid_t uid = id_bits_count && (st.st_mode & S_ISUID) ? st.st_uid : geteuid();
    /* without group execute the bit once meant mandatory locking */
    bool setgid = (st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
    gid_t gid = id_bits_count && setgid ? st.st_gid : getegid();
    if (uid != getuid())
        return "is setuid: it runs as another user";
    if (gid != getgid())
        return "is setgid: it runs with another group";
    struct vfs_ns_cap_data caps;
    ssize_t length = getxattr(path, "security.capability", &caps, sizeof caps);
    if (getuid() != 0 && length >= (ssize_t)XATTR_CAPS_SZ_1 && !on_nosuid(path)) {
        bool effective = le32toh(caps.magic_etc) & VFS_CAP_FLAGS_EFFECTIVE;
        bool permitted =
            caps.data[0].permitted || (length >= (ssize_t)XATTR_CAPS_SZ_2 && caps.data[1].permitted);
        if (effective || permitted)
            return "has file capabilities";
    }
    return NULL;
}

static int refuse_elf(const char *path, const struct image *image, const char *library)
{
    struct image preload;
    read_image(library, &preload);
    if (preload.kind != IMAGE_ELF || preload.type != ET_DYN) {
        complain("%s is not a shared library that can be read", library);
        return EXIT_REFUSED;
    }
    if (image->data != preload.data || image->class != preload.class || image->machine != preload.machine) {
        complain("%s is a program for another kind of machine (ELF %s-bit, machine %d) than %s (%s-bit, "
                 "machine %d)",
                 path, image->class == ELFCLASS32 ? "32" : "64", image->machine, library,
                 preload.class == ELFCLASS32 ? "32" : "64", preload.machine);
        return EXIT_REFUSED;
    }
    dl_iterate_phdr(find_own_interpreter, NULL);
    const char *ours = own_interpreter;
    if (!*image->interpreter) {
        if (ours && same_file(path, ours))
            return 0; /* the dynamic linker run as a command honours LD_PRELOAD */
        complain("%s is statically linked: no library can be preloaded into it", path);
        return EXIT_REFUSED;
    }
    const char *theirs = base_name(image->interpreter);
    if (!strncmp(theirs, "ld-musl", strlen("ld-musl"))) {
        complain("%s uses the C library musl (%s): forkspan works with glibc only", path, image->interpreter);
        return EXIT_REFUSED;
    }
    if (ours && strcmp(theirs, base_name(ours))) {
        complain("%s uses the dynamic linker %s: forkspan needs %s", path, image->interpreter, ours);
        return EXIT_REFUSED;
    }
    const char *because = secure_because(path);
    if (because) {
        complain("%s %s, and for such a program the system ignores LD_PRELOAD", path, because);
        return EXIT_REFUSED;
    }
    return 0;
}

/* The program that a line "#!/usr/bin/env [-S] [NAME=VALUE...] PROGRAM ..." starts; malloc'd, or NULL. */
static char *program_of_env(char *words)
{
    int status;
    for (char *rest = words, *word; (word = strtok_r(rest, " \t", &rest));)
        if (*word != '-' && !strchr(word, '='))
            return find_command(word, &status);
    return NULL;
}

int refuse_command(const char *path, const char *library)
{
    enum { KERNEL_DEPTH = 5 }; /* scripts whose interpreter is a script: Linux ends with ELOOP behind this */
    char *current = strdup(path);
    int status = 0;
    for (int depth = 0; current && !status && depth <= KERNEL_DEPTH; depth++) {
        struct image image;
        char *next = NULL;
        read_image(current, &image);
        if (image.kind == IMAGE_ELF) {
            status = refuse_elf(current, &image, library);
        } else if (image.kind == IMAGE_OTHER) {
            status = refuse_command("/bin/sh", library); /* as become_command does it */
        } else if (image.kind == IMAGE_SCRIPT) {
            if (access(image.interpreter, X_OK)) {
                complain("%s cannot be executed: its interpreter %s is missing or not executable", current,
                         image.interpreter);
                status = EXIT_NOT_EXECUTABLE;
            } else if (!strcmp(base_name(image.interpreter), "env")) {
                status = refuse_command(image.interpreter, library);
                next = program_of_env(image.argument);
            } else {
                next = strdup(image.interpreter);
            }
        }
        free(current);
        current = next;
    }
    free(current);
    return status;
}
