package integration

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// bin is where the programs are, built before the first test: inside one, its limits would run out over the compiler where nothing is cached.
var bin string

func TestMain(m *testing.M) {
	if os.Getenv(crashEnv) != "" { // this process is the producer of a crash test
		crashingProducer()
		return
	}
	if os.Getenv(actorEnv) != "" { // this process is a worker or producer that a fault is done to
		os.Exit(actorMain())
	}
	flag.Parse()
	parallel := false
	flag.Visit(func(f *flag.Flag) { parallel = parallel || f.Name == "test.parallel" })
	if !parallel { // most of these tests wait most of their time; one a core would take too long
		flag.Set("test.parallel", parallelTests)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if bin, err = os.MkdirTemp("", "gatherq-integration-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	cmd := exec.Command("go", "build", "-o", bin+string(filepath.Separator),
		"github.com/gatherq/gatherq/cmd/producer", "github.com/gatherq/gatherq/cmd/worker")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: %s\n", err, out)
		return 1
	}
	return m.Run()
}
