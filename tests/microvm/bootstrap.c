/* A custom runtime without a library: it speaks the Runtime API on a socket of its own, as any official client does. */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TAKEN_PORT = 5555, TAKEN_BYTES = 2 << 20 };

static int dial(void) {
    char host[64];
    const char *address = getenv("AWS_LAMBDA_RUNTIME_API");
    snprintf(host, sizeof host, "%s", address ? address : "");
    char *port = strchr(host, ':');
    if (!port)
        exit(3);
    *port++ = 0;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    inet_pton(AF_INET, host, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        exit(4);
    return fd;
}

static char answer[65536];

/* One request and its whole answer, on one connection that is kept. */
static char *ask(int fd, const char *request) {
    size_t have = 0;
    if (write(fd, request, strlen(request)) < 0)
        exit(5);
    for (;;) {
        ssize_t got = read(fd, answer + have, sizeof answer - 1 - have);
        if (got <= 0)
            exit(6);
        answer[have += (size_t)got] = 0;
        char *body = strstr(answer, "\r\n\r\n"), *length = strcasestr(answer, "content-length:");
        if (body && length && strlen(body + 4) >= (size_t)atol(length + 15))
            return body + 4;
    }
}

static int take_port(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(TAKEN_PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 1) == 0 ? fd : -1;
}

/* Take a port, memory, a child and a file, and never end. */
static void hang(void) {
    take_port();
    memset(mmap(NULL, TAKEN_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1, TAKEN_BYTES);
    int fd = open("/tmp/kept", O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (write(fd, "x", 1) != 1)
        exit(8);
    if (fork() == 0)
        setsid();
    for (;;)
        ;
}

/* What there is: how often it hung before, processes of its user, whether the port is free. */
static void look(char *into, size_t size) {
    struct stat kept = {0}, owner;
    int processes = 0, fd = take_port();
    char path[300];
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc));) {
        snprintf(path, sizeof path, "/proc/%s", entry->d_name);
        processes += entry->d_name[0] >= '0' && entry->d_name[0] <= '9' && stat(path, &owner) == 0 && owner.st_uid == getuid();
    }
    closedir(proc);
    stat("/tmp/kept", &kept);
    snprintf(into, size, "{\"kept\": %d, \"processes\": %d, \"port\": %s}", (int)kept.st_size, processes, fd < 0 ? "false" : "true");
    close(fd);
}

int main(void) {
    int fd = dial();
    for (;;) {
        static char request[131072], id[64];
        char *body = ask(fd, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: runtime\r\n\r\n");
        char *found = strcasestr(answer, "lambda-runtime-aws-request-id:");
        if (!found || sscanf(found + 30, " %63[0-9a-fA-F-]", id) != 1)
            return 7;
        printf("custom %s\n", body);
        fflush(stdout);
        static char seen[256];
        if (strstr(body, "\"hang\""))
            hang();
        if (strstr(body, "\"look\"")) {
            look(seen, sizeof seen);
            body = seen;
        }
        snprintf(request, sizeof request,
                 "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nhost: runtime\r\ncontent-length: %zu\r\n\r\n%s", id,
                 strlen(body), body);
        ask(fd, request);
    }
}
