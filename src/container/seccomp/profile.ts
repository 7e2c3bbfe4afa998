/**
 * berth's default system call profile: data only; seccomp.ts gives it meaning. Raise VERSION (seccomp-key.ts) with any change, so
 * that cached filters are compiled anew.
 *
 * Three fences. What is listed under `allowed` is allowed. What can hurt the host or another container and has no use without
 * a capability is `gated`: allowed to who holds one of the capabilities, else EPERM, as the kernel itself would answer. What is
 * `refused` is EPERM for everybody. Everything else, above all calls newer than this list, is ENOSYS: C libraries then
 * fall back to older calls, where EPERM would be taken for a final answer.
 */

/** Names of one theme, separated by blanks. 32-bit variants stand beside their 64-bit ones. */
export const ALLOWED: Record<string, string> = {
  files: `
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
    fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync flock fstat fstat64
    fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 ioctl lchown lchown32 link
    linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2
    pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readdir readlink readlinkat readv rename renameat renameat2
    rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range
    sync_file_range2 arm_sync_file_range arm_fadvise64_64 syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat
    utimensat_time64 utimes write writev cachestat file_getattr file_setattr`,
  attributes: `
    fgetxattr flistxattr fremovexattr fsetxattr getxattr lgetxattr listxattr llistxattr lremovexattr lsetxattr removexattr
    setxattr getxattrat listxattrat removexattrat setxattrat`,
  watching: `
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
    fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch _newselect poll ppoll ppoll_time64 pselect6
    pselect6_time64 select signalfd signalfd4 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
    timerfd_settime64 io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit`,
  memory: `
    brk get_mempolicy madvise map_shadow_stack mbind membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages
    set_mempolicy set_mempolicy_home_node`,
  processes: `
    capget capset execve execveat exit exit_group fork getcpu getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups
    getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage
    getsid gettid getuid getuid32 ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
    nanosleep pause pidfd_open pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace restart_syscall rseq
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority
    setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32
    sysinfo times ugetrlimit uname vfork wait4 waitid waitpid uretprobe uprobe statmount listmount`,
  threads: `
    futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list get_thread_area set_robust_list
    set_thread_area set_tid_address set_tls`,
  signals: `
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal sigpending sigprocmask sigreturn sigsuspend tgkill
    tkill`,
  time: `
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday setitimer time timer_create timer_delete timer_getoverrun
    timer_gettime timer_gettime64 timer_settime timer_settime64`,
  sockets: `
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg send
    sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair`,
  ipc: `
    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl
    msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget`,
  machine: "arch_prctl breakpoint cacheflush getrandom modify_ldt",
};

/** Capabilities, any of which opens the names beside them. */
export const GATED: readonly { capabilities: string; names: string; errno?: number }[] = [
  {
    capabilities: "SYS_ADMIN",
    names: `
      fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree open_tree_attr
      pivot_root quotactl quotactl_fd setdomainname sethostname setns umount umount2 unshare`,
  },
  { capabilities: "SYS_ADMIN", names: "add_key keyctl request_key" },
  // A program that asks which security modules there are takes ENOSYS for "an older kernel", and goes on.
  { capabilities: "SYS_ADMIN", names: "lsm_get_self_attr lsm_list_modules lsm_set_self_attr", errno: 38 },
  { capabilities: "SYS_ADMIN BPF", names: "bpf" },
  { capabilities: "SYS_ADMIN PERFMON", names: "perf_event_open" },
  { capabilities: "SYS_ADMIN SYSLOG", names: "syslog" },
  { capabilities: "DAC_READ_SEARCH", names: "open_by_handle_at" },
  { capabilities: "SYS_BOOT", names: "reboot" },
  { capabilities: "SYS_CHROOT", names: "chroot" },
  { capabilities: "SYS_MODULE", names: "delete_module finit_module init_module" },
  { capabilities: "SYS_NICE", names: "migrate_pages move_pages" },
  { capabilities: "SYS_PACCT", names: "acct" },
  { capabilities: "SYS_PTRACE", names: "kcmp pidfd_getfd process_madvise" },
  { capabilities: "SYS_RAWIO", names: "ioperm iopl" },
  { capabilities: "SYS_TIME", names: "clock_settime clock_settime64 settimeofday stime" },
  { capabilities: "SYS_TTY_CONFIG", names: "vhangup" },
];

/** EPERM whatever the capabilities. io_uring and userfaultfd have been the door of too many kernel exploits. */
export const REFUSED = `
  io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load nfsservctl swapoff swapon sysfs userfaultfd uselib
  ustat vm86 vm86old vmsplice`;

/** personality(2) values that only make a program see another machine name: native, PER_LINUX32, UNAME26, both, and "ask". */
export const PERSONALITIES: readonly number[] = [0, 0x8, 0x20000, 0x20008, 0xffffffff];

/**
 * Address families of socket(2) as aligned blocks [first, count]: all but AF_ALG (38: the kernel's crypto, CVE-2026-31431) and
 * AF_VSOCK (40: reaches the hypervisor past every network namespace). Compared over all 64 bits, because the kernel
 * itself looks at the lower 32 only and would see 38 in 2^32 + 38.
 */
export const SOCKET_FAMILIES: readonly (readonly [number, number])[] = [
  [0, 32],
  [32, 4],
  [36, 2],
  [39, 1],
  [41, 1],
  [42, 2],
  [44, 4],
];

/** CLONE_NEW* bits of clone(2): namespaces, for which CAP_SYS_ADMIN is needed. */
export const CLONE_NAMESPACES = 0x7e020000;
