/* The first stage in a microVM whose kernel has its drivers as modules. */
#ifndef HANABI_INITRAMFS_H
#define HANABI_INITRAMFS_H

_Noreturn void initramfs_run(char **argv); /* goes on as the agent of the root drive */

#endif
