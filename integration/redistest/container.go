package redistest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/wait"
)

// Images are the servers that are supported, each the oldest and the newest of its kind.
var Images = []string{"redis:7.0", "redis:8.0", "valkey/valkey:8.1"}

// dockerThere asks once whether a Docker engine answers.
var dockerThere = sync.OnceValue(func() (missing string) {
	log.SetDefault(log.NewNoopLogger()) // what a container does is told by what fails
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := exec.LookPath("docker"); err != nil {
		return "no docker is installed"
	}
	out, err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput()
	if err != nil {
		return "no Docker engine answers: " + strings.TrimSpace(string(out))
	}
	return ""
})

// unusable remembers why an image could not be used, so that each test does not wait for the same again.
var unusable struct {
	sync.Mutex
	why map[string]string
}

// imageThere asks for an image, and tries to pull it for a few seconds where it is not there.
func imageThere(ctx context.Context, image string) (missing string) {
	inspect := func() error { return exec.CommandContext(ctx, "docker", "image", "inspect", image).Run() }
	if inspect() == nil {
		return ""
	}
	pull, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	exec.CommandContext(pull, "docker", "pull", "--quiet", image).Run()
	if inspect() == nil {
		return ""
	}
	return fmt.Sprintf("no image %s, and it cannot be pulled within 15 s", image)
}

// Container starts a server from an image in Docker. The test is skipped where there is no Docker, no such image, or where
// Docker cannot start it.
func Container(t testing.TB, image string) *Server {
	t.Helper()
	if missing := dockerThere(); missing != "" {
		missingPart(t, "docker", missing, true)
	}
	unusable.Lock() // starts of the tests that run in parallel one by one: the engine gains nothing from more
	defer unusable.Unlock()
	if why, ok := unusable.why[image]; ok {
		missingPart(t, "docker", why, true)
	}
	s, err := startContainer(t, image)
	if err != nil {
		why := fmt.Sprintf("%s in Docker: %v", image, err)
		if unusable.why == nil {
			unusable.why = map[string]string{}
		}
		unusable.why[image] = why
		missingPart(t, "docker", why, true)
	}
	return s
}

func startContainer(t testing.TB, image string) (*Server, error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if missing := imageThere(ctx, image); missing != "" {
		return nil, errors.New(missing)
	}
	container, err := testcontainers.Run(ctx, image,
		testcontainers.WithExposedPorts("6379/tcp"),
		testcontainers.WithWaitStrategy(wait.ForLog("Ready to accept connections")))
	testcontainers.CleanupContainer(t, container)
	if err != nil {
		return nil, err
	}
	endpoint, err := container.PortEndpoint(ctx, "6379/tcp", "redis")
	if err != nil {
		return nil, err
	}
	s := &Server{Name: image, URL: endpoint + "/0"}
	return s, answers(ctx, s.URL, 10*time.Second)
}
