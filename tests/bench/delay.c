/* A slow line: relays connections, and holds every octet back for a while.

   delay MICROSECONDS PORT [PORT ...]

   Listens on a free port of 127.0.0.1 for each PORT there and prints it. Each direction is held back for so many
   microseconds: a round trip takes twice as long. A direction holds as much as a fast line of that length would. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define PAIRS 64
#define CHUNK (64 * 1024)
#define HELD (64 * 1024 * 1024) /* octets under way in one direction: 20 ms at 25 Gbit/s, 100 ms at 5 */

struct chunk {
  struct chunk *next;
  long long due_ns;
  size_t size, sent;
  char octets[CHUNK];
};

struct way { /* from one socket to another */
  int from, to;
  struct chunk *first, *last;
  size_t held;
  int is_ended, is_closed;
};

struct pair {
  int is_used;
  struct way ways[2];
};

static struct pair pairs[PAIRS];
static struct chunk *spare;
static long long delay_ns;

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
  fprintf(stderr, "delay: %s: %s\n", what, strerror(errno));
  exit(1);
}

static struct chunk *fresh(void) {
  struct chunk *one = spare;
  if (one) spare = one->next;
  else if (!(one = malloc(sizeof *one))) die("memory");
  return one;
}

static void release(struct chunk *one) {
  one->next = spare;
  spare = one;
}

static int local(int port, int is_server) {
  struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port)};
  int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (is_server) {
    if (bind(fd, (struct sockaddr *)&where, sizeof where) < 0 || listen(fd, 64) < 0) die("listen");
  } else {
    if (connect(fd, (struct sockaddr *)&where, sizeof where) < 0) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(fd, F_SETFL, O_NONBLOCK);
  }
  return fd;
}

static void accepted(int listener, int port) {
  int yes = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
  if (fd < 0) return;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  for (int i = 0; i < PAIRS; i++) {
    struct pair *pair = &pairs[i];
    if (pair->is_used) continue;
    int server = local(port, 0);
    memset(pair, 0, sizeof *pair);
    pair->is_used = 1;
    pair->ways[0] = (struct way){.from = fd, .to = server};
    pair->ways[1] = (struct way){.from = server, .to = fd};
    return;
  }
  close(fd);
}

static void take(struct way *way) {
  while (!way->is_ended && way->held < HELD) {
    struct chunk *one = fresh();
    ssize_t size = recv(way->from, one->octets, CHUNK, 0);
    if (size <= 0) {
      if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
        way->is_ended = 1;
        size = 0; /* an empty chunk stands for the end */
      } else {
        release(one);
        return;
      }
    }
    one->due_ns = now_ns() + delay_ns;
    one->size = size;
    one->sent = 0;
    one->next = NULL;
    if (way->last) way->last->next = one;
    else way->first = one;
    way->last = one;
    way->held += size;
  }
}

static void give(struct way *way) {
  while (way->first && way->first->due_ns <= now_ns()) {
    struct chunk *one = way->first;
    if (!one->size) {
      shutdown(way->to, SHUT_WR);
      way->is_closed = 1;
    } else {
      ssize_t sent = send(way->to, one->octets + one->sent, one->size - one->sent, MSG_NOSIGNAL);
      if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (sent < 0) {
        way->is_closed = way->is_ended = 1;
        sent = one->size - one->sent;
      }
      one->sent += sent;
      if (one->sent < one->size) return;
    }
    way->held -= one->size;
    way->first = one->next;
    if (!way->first) way->last = NULL;
    release(one);
  }
}

int main(int argc, char **argv) {
  int listeners[8], count = argc - 2;
  if (count < 1 || count > 8) {
    fprintf(stderr, "delay MICROSECONDS PORT ...\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  delay_ns = atoll(argv[1]) * 1000;
  for (int i = 0; i < count; i++) {
    struct sockaddr_in where;
    socklen_t size = sizeof where;
    listeners[i] = local(0, 1);
    getsockname(listeners[i], (struct sockaddr *)&where, &size);
    printf("%d\n", ntohs(where.sin_port));
  }
  fflush(stdout);
  for (;;) {
    struct pollfd fds[8 + 2 * PAIRS];
    struct way *whose[8 + 2 * PAIRS];
    int n = 0;
    long long next_ns = now_ns() + 1000000000LL;
    for (int i = 0; i < count; i++) {
      whose[n] = NULL;
      fds[n++] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
    }
    for (int i = 0; i < PAIRS; i++) {
      if (!pairs[i].is_used) continue;
      for (int j = 0; j < 2; j++) {
        struct way *way = &pairs[i].ways[j], *back = &pairs[i].ways[1 - j];
        short events = 0;
        if (!way->is_ended && way->held < HELD) events |= POLLIN;
        if (back->first) {
          if (back->first->due_ns <= now_ns()) events |= POLLOUT; /* "back" writes into the socket "way" reads from */
          else if (back->first->due_ns < next_ns) next_ns = back->first->due_ns;
        }
        whose[n] = way;
        fds[n++] = (struct pollfd){.fd = events || !way->is_ended ? way->from : -1, .events = events};
      }
    }
    long long wait_ns = next_ns - now_ns();
    if (wait_ns < 0) wait_ns = 0;
    struct timespec wait = {wait_ns / 1000000000LL, wait_ns % 1000000000LL};
    if (ppoll(fds, n, &wait, NULL) < 0 && errno != EINTR) die("poll");
    for (int i = 0; i < n; i++) {
      if (whose[i] && fds[i].revents & (POLLIN | POLLHUP | POLLERR)) take(whose[i]);
      if (!whose[i] && fds[i].revents) accepted(fds[i].fd, atoi(argv[i + 2]));
    }
    for (int i = 0; i < PAIRS; i++) {
      struct pair *pair = &pairs[i];
      if (!pair->is_used) continue;
      give(&pair->ways[0]);
      give(&pair->ways[1]);
      if (pair->ways[0].is_closed && pair->ways[1].is_closed) {
        close(pair->ways[0].from);
        close(pair->ways[1].from);
        pair->is_used = 0;
      }
    }
  }
}
