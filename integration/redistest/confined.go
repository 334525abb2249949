package redistest

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
)

// Confined is a program in a container that has little memory and no swap.
type Confined struct{ container testcontainers.Container }

// StartConfined starts a program of this machine in a container, on this machine's network. It needs nothing from the image. The test is skipped
// where there is no Docker, or where Docker cannot do that.
func StartConfined(t testing.TB, program string, memory int64, args ...string) *Confined {
	t.Helper()
	if missing := dockerThere(); missing != "" {
		missingPart(t, "docker", missing, true)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // Docker takes its time on a busy machine
	defer cancel()
	image := Images[0]
	if missing := imageThere(ctx, image); missing != "" {
		missingPart(t, "docker", missing, true)
	}
	c, err := testcontainers.Run(ctx, image,
		testcontainers.WithFiles(testcontainers.ContainerFile{HostFilePath: program, ContainerFilePath: "/program", FileMode: 0o755}),
		testcontainers.WithEntrypoint("/program"), testcontainers.WithCmd(args...),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.NetworkMode, h.Memory, h.MemorySwap = "host", memory, memory
		}))
	testcontainers.CleanupContainer(t, c)
	if err != nil {
		missingPart(t, "docker", fmt.Sprintf("%s in a container with %d bytes: %v", program, memory, err), true)
	}
	return &Confined{c}
}

// Ended reports whether the program has ended, and whether by SIGKILL. Nobody but the kernel sends that to it, for its memory; Docker's own
// word on it, OOMKilled, is an event that may pass unheard.
func (c *Confined) Ended(t testing.TB) (ended, killed bool) {
	t.Helper()
	s, err := c.container.State(t.Context())
	must(t, err)
	return !s.Running, s.ExitCode == 128+int(syscall.SIGKILL)
}
