/* The raw limit: prepared octets go out on a few connections at once, whatever comes back is thrown away.

   limit PORT PREAMBLE STREAM [PORT PREAMBLE STREAM ...]        with "tls:" before a port: over TLS, unverified

   PREAMBLE: a file of lines; each is sent when the answer to the one before it has come (its last line begins with
   "+" or with the tag "x "). STREAM: a file, sent as fast as the server takes it; the server has to hang up at its end.
   Prints the seconds from the first connection until the last one is over. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define AT_MOST 8
#define BLOCK (256 * 1024)

struct stream {
  int fd;
  SSL *ssl;
  const char *octets;
  size_t size, sent;
  int is_over, wants_write;
};

static char block[BLOCK];

static void die(const char *what) {
  fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static const char *mapped(const char *path, size_t *size) {
  struct stat facts;
  int fd = open(path, O_RDONLY);
  if (fd < 0 || fstat(fd, &facts) < 0) die(path);
  *size = facts.st_size;
  if (!*size) return "";
  char *octets = mmap(NULL, *size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
  if (octets == MAP_FAILED) die(path);
  close(fd);
  return octets;
}

/* Octets moved, 0 at the end of the connection, -1 when it has to wait. */
static ssize_t moved(struct stream *one, ssize_t count) {
  if (count > 0) return count;
  if (one->ssl) {
    int why = SSL_get_error(one->ssl, count);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return -1;
    return 0;
  }
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return -1;
  return 0;
}

static ssize_t take(struct stream *one) {
  return moved(one, one->ssl ? SSL_read(one->ssl, block, BLOCK) : recv(one->fd, block, BLOCK, 0));
}

static ssize_t give(struct stream *one, const char *octets, size_t size) {
  if (size > BLOCK) size = BLOCK;
  return moved(one, one->ssl ? SSL_write(one->ssl, octets, size) : send(one->fd, octets, size, MSG_NOSIGNAL));
}

static void answered(struct stream *one) {
  char line[4096];
  size_t held = 0;
  for (;;) {
    ssize_t count = take(one);
    if (count < 0) continue;
    if (!count) die("hung up before the preamble was over");
    for (ssize_t i = 0; i < count; i++) {
      if (held < sizeof line - 1) line[held++] = block[i];
      if (block[i] != '\n') continue;
      line[held] = 0;
      held = 0;
      if (i == count - 1 && (line[0] == '+' || !strncmp(line, "x ", 2) || !strncmp(line, "* OK", 4))) return;
    }
  }
}

static void begin(struct stream *one, const char *port, const char *preamble, const char *path) {
  struct sockaddr_in where = {.sin_family = AF_INET};
  int yes = 1, is_tls = !strncmp(port, "tls:", 4);
  where.sin_port = htons(atoi(is_tls ? port + 4 : port));
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  one->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(one->fd, (struct sockaddr *)&where, sizeof where) < 0) die("connect");
  setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (is_tls) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    one->ssl = SSL_new(context);
    SSL_set_fd(one->ssl, one->fd);
    if (SSL_connect(one->ssl) != 1) die("TLS");
  }
  size_t size;
  const char *lines = mapped(preamble, &size), *end = lines + size;
  answered(one);
  while (lines < end) {
    const char *next = memchr(lines, '\n', end - lines);
    next = next ? next + 1 : end;
    if (give(one, lines, next - lines) != next - lines) die("preamble");
    answered(one);
    lines = next;
  }
  one->octets = mapped(path, &one->size);
  fcntl(one->fd, F_SETFL, O_NONBLOCK);
}

int main(int argc, char **argv) {
  struct stream streams[AT_MOST] = {0};
  int count = (argc - 1) / 3;
  if (count < 1 || count > AT_MOST || (argc - 1) % 3) {
    fprintf(stderr, "limit PORT PREAMBLE STREAM ...\n");
    return 2;
  }
  for (int i = 0; i < count; i++) mapped(argv[3 * i + 3], &(size_t){0});
  double began = now();
  for (int i = 0; i < count; i++) begin(&streams[i], argv[3 * i + 1], argv[3 * i + 2], argv[3 * i + 3]);
  for (int left = count; left;) {
    struct pollfd fds[AT_MOST];
    for (int i = 0; i < count; i++) {
      struct stream *one = &streams[i];
      fds[i].fd = one->is_over ? -1 : one->fd;
      fds[i].events = POLLIN | (one->sent < one->size ? POLLOUT : 0);
    }
    if (poll(fds, count, 60000) <= 0) die("nothing moved for a minute");
    for (int i = 0; i < count; i++) {
      struct stream *one = &streams[i];
      if (one->is_over || !fds[i].revents) continue;
      if (fds[i].revents & POLLOUT) {
        ssize_t sent = give(one, one->octets + one->sent, one->size - one->sent);
        if (!sent) die("hung up in the middle");
        if (sent > 0) one->sent += sent;
      }
      for (ssize_t got; fds[i].revents & ~POLLOUT; ) {
        got = take(one);
        if (got < 0) break;
        if (got) continue;
        if (one->sent < one->size) die("hung up in the middle");
        one->is_over = 1;
        left--;
        break;
      }
    }
  }
  printf("%.6f\n", now() - began);
  return 0;
}
