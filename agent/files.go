package agent

import "golang.org/x/sys/unix"

// manyFiles is enough for the pause of a tree of 1 600 processes, by five handles each.
const manyFiles = 8192

// roomForFiles has the kernel make this process's table of open files large at once. By
// itself it doubles it when it is full, and as several threads share it, each time waits
// until no core can be looking at the old one: in the first pause of 1 000 processes that
// was 50 ms. The table takes 64 kB of the kernel's memory.
func roomForFiles() {
	if fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, manyFiles); err == nil {
		unix.Close(fd)
	} // a limit below that is how many there can be
}
