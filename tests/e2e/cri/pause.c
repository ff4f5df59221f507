/* The first process of a sandbox, and of the machine around containerd: it is there, and buries orphans. */
#include <signal.h>
#include <unistd.h>

int main(void) {
    signal(SIGCHLD, SIG_IGN);
    for (;;)
        pause();
}
