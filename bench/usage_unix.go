//go:build unix

package bench

import "syscall"

// cpuMicros returns the CPU time that this process has used, in microseconds.
func cpuMicros() float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return float64(r.Utime.Sec+r.Stime.Sec)*1e6 + float64(r.Utime.Usec+r.Stime.Usec)
}
