/* A runtime for functions that are container images: one static program that speaks the Runtime API over HTTP and answers with
 * what it was started with: {"image": ..., "argv": [...], "cwd": ..., "env": {...}, "uid": n, "files": [...], "event": ...}. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

extern char **environ;

static char answer[1 << 18];
static size_t used;

static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    used += (size_t)vsnprintf(answer + used, sizeof answer - used, format, arguments);
    va_end(arguments);
    if (used >= sizeof answer)
        exit(9);
}

static void say_string(const char *text) {
    say("\"");
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            say("\\%c", *text);
        else if ((unsigned char)*text < ' ')
            say("\\u%04x", *text);
        else
            say("%c", *text);
    say("\"");
}

static void say_names(const char *directory) {
    DIR *listing = opendir(directory);
    int first = 1;
    say("[");
    for (struct dirent *entry; listing && (entry = readdir(listing));)
        if (entry->d_name[0] != '.') {
            say(first ? "" : ", ");
            say_string(entry->d_name);
            first = 0;
        }
    if (listing)
        closedir(listing);
    say("]");
}

static void say_self(int argc, char **argv) {
    char cwd[4096], image[256] = "";
    FILE *file = fopen("/image", "r");
    if (file && !fgets(image, sizeof image, file))
        image[0] = 0;
    if (file)
        fclose(file);
    say("{\"image\": ");
    say_string(image);
    say(", \"argv\": [");
    for (int index = 0; index < argc; index++) {
        say(index ? ", " : "");
        say_string(argv[index]);
    }
    say("], \"cwd\": ");
    say_string(getcwd(cwd, sizeof cwd) ? cwd : "?");
    say(", \"env\": {");
    for (char **each = environ; *each; each++) {
        char *equals = strchr(*each, '=');
        *equals = 0;
        say(each == environ ? "" : ", ");
        say_string(*each);
        say(": ");
        say_string(equals + 1);
        *equals = '=';
    }
    say("}, \"uid\": %d, \"task\": ", (int)getuid());
    say_names("/var/task");
    say(", \"runtime\": ");
    say_names("/var/runtime");
    FILE *written = fopen("/tmp/written", "w");
    say(", \"tmp\": %s, ", written ? "true" : "false");
    if (written)
        fclose(written);
    written = fopen("/written", "w");
    say("\"root\": %s, ", written ? "true" : "false");
}

static int dial(void) {
    char host[64], *address = getenv("AWS_LAMBDA_RUNTIME_API"), *colon = address ? strchr(address, ':') : NULL;
    struct sockaddr_in target = {.sin_family = AF_INET};
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (!colon)
        exit(5);
    snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    inet_aton(host, &target.sin_addr);
    target.sin_port = htons((uint16_t)atoi(colon + 1));
    if (connection < 0 || connect(connection, (struct sockaddr *)&target, sizeof target))
        exit(6);
    return connection;
}

/* One exchange, answer whole in `into`, ended by a zero byte; the connection is closed by the server. */
static void ask(const char *head, const char *body, char *into, size_t size) {
    int connection = dial();
    dprintf(connection, "%s HTTP/1.1\r\nHost: runtime\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", head, strlen(body), body);
    size_t done = 0;
    for (ssize_t got; done < size - 1 && (got = read(connection, into + done, size - 1 - done)) > 0;)
        done += (size_t)got;
    into[done] = 0;
    close(connection);
}

int main(int argc, char **argv) {
    static char received[1 << 16], reply[4096], id[64], head[256];
    say_self(argc, argv);
    size_t mine = used;
    for (;;) {
        ask("GET /2018-06-01/runtime/invocation/next", "", received, sizeof received);
        char *found = strcasestr(received, "lambda-runtime-aws-request-id:"), *event = strstr(received, "\r\n\r\n");
        if (!found || !event || sscanf(found, "%*[^:]: %40s", id) != 1)
            return 7;
        used = mine;
        say("\"event\": %s}", event + 4);
        snprintf(head, sizeof head, "POST /2018-06-01/runtime/invocation/%s/response", id);
        ask(head, answer, reply, sizeof reply);
    }
}
