// Command worker runs tasks: echo and sleep always, file, exec, http and sim where its flags switch them on. Any number of
// workers on any number of hosts share the queues of one Redis.
//
// The first SIGTERM or SIGINT makes it drain: it takes nothing new and lets running tasks finish for the time of --drain. A second one
// makes it give everything back at once.
package main

import (
	"context"
	"os"

	"github.com/gatherq/gatherq/internal/cli"
)

func main() {
	os.Exit(cli.Execute(context.Background(), newRoot()))
}
