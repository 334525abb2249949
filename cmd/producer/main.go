// Command producer creates tasks and gathers groups on a fleet of gatherq workers, awaits them, looks at them and cancels them.
//
// Run "producer --help" for its commands, or "producer demo" for the whole of it in one process.
package main

import (
	"context"
	"os"

	"github.com/gatherq/gatherq/internal/cli"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := cli.InterruptContext(context.Background())
	defer stop()
	return cli.Execute(ctx, newRoot())
}
