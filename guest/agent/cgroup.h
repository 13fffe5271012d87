/* The memory of the sandbox's processes in a microVM: limited and measured by a cgroup. Elsewhere the host does that. */
#ifndef HANABI_CGROUP_H
#define HANABI_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

void cgroup_create(const char *root); /* mounts the hierarchy at this directory */
bool cgroup_join(void);               /* the calling process, before it gives up its rights; errno when false */
void cgroup_set_process(uint8_t role, pid_t pid); /* whose own peak counts too; 0: it has ended */
void cgroup_limit_memory(uint64_t bytes);
bool cgroup_reset_peak(void);

/* What a kernel has to sum up it is not asked many times a second: `memory.stat` only at answers and deaths, kills only at deaths. */
enum memory_scan { SCAN_PEAK, SCAN_FOOTPRINT, SCAN_FOOTPRINT_AND_KILLS };
void cgroup_report_memory(enum memory_scan scan); /* to the host, if it has changed */

#endif
