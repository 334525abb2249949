package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gatherq/gatherq/bench/report"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// stream is the peak memory of "producer gather" that reads a large gather's lines from its standard input; where slowFirstMS is not 0
// with --await, and the first member slow, so that no result can be printed before the others have long ended.
func stream(members, slowFirstMS int) side {
	sd := side{name: "producer gather", n: members, jobs: oneWorker(), alone: true, limit: millionTime}
	if slowFirstMS > 0 {
		sd.name = "producer gather --await"
	}
	sd.run = func(r *round) error {
		args := []string{"gather", page.Name(), "-", "--namespace", string(r.keys), "--redis-file", "/dev/fd/3"}
		if slowFirstMS > 0 {
			args = append(args, "--await", "--await-timeout", millionTime.String())
		}
		command := exec.CommandContext(r.ctx, r.cfg.Program, args...)
		url, err := urlFile(r.cfg.Target.URL())
		if err != nil {
			return err
		}
		defer url.Close()
		command.Env, command.ExtraFiles = environment(), []*os.File{url}
		endWithParent(command)
		line := func(i int) []byte {
			if i > 0 {
				return pageLine(i, 0)
			}
			return pageLine(0, slowFirstMS)
		}
		return r.streamed(command, members, slowFirstMS > 0, line)
	}
	return sd
}

func pageLine(i, ms int) []byte {
	line, _ := json.Marshal(pageOf(i, ms)) // a number and a text: nothing can be wrong with it
	return line
}

// urlFile returns a file that only its handle names any more, so that a password is left nowhere: not among arguments, not in the
// environment, not on disk.
func urlFile(url string) (*os.File, error) {
	f, err := os.CreateTemp("", "gatherq-bench-")
	if err != nil {
		return nil, err
	}
	_, writeErr := f.WriteString(url)
	if err := errors.Join(writeErr, os.Remove(f.Name())); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// streamed runs the command, feeds it, checks what it prints, and notes the most memory that it had.
func (r *round) streamed(command *exec.Cmd, members int, awaited bool, line func(i int) []byte) error {
	input, err := command.StdinPipe()
	if err != nil {
		return err
	}
	output, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	command.Stderr = &stderr
	began := time.Now()
	if err := command.Start(); err != nil {
		return err
	}
	watched, stop := context.WithCancel(r.ctx)
	defer stop()
	peak := watchMemory(watched, command.Process.Pid)
	fed := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(input, 64<<10)
		var err error
		for i := 0; i < members && err == nil; i++ {
			_, err = w.Write(append(line(i), '\n'))
		}
		fed <- errors.Join(err, w.Flush(), input.Close())
	}()
	id, lines, readErr := readResults(output, awaited, line)
	waitErr := command.Wait()
	feedErr := <-fed
	if err := errors.Join(readErr, waitErr, feedErr); err != nil {
		return fmt.Errorf("producer gather: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	r.set(report.PerSecond, float64(members)/time.Since(began).Seconds())
	if mib := peak(); mib > 0 {
		r.set(report.PeakMemory, mib)
	}
	if awaited {
		if lines != members {
			return fmt.Errorf("%d results for %d members", lines, members)
		}
		return nil
	}
	return r.groupEnds(id)
}

// readResults checks each line of a result against its arguments. Without results the one line is the group's ID.
func readResults(output io.Reader, awaited bool, line func(i int) []byte) (id string, lines int, err error) {
	text := bufio.NewScanner(output)
	for ; text.Scan(); lines++ {
		switch {
		case !awaited:
			id = text.Text()
		case !bytes.Equal(text.Bytes(), line(lines)):
			_, _ = io.Copy(io.Discard, output)
			return id, lines, fmt.Errorf("result %d is %.200q", lines, text.Bytes())
		}
	}
	return id, lines, text.Err()
}

// groupEnds waits until all members of a group have ended: what goes on would disturb what is measured next.
func (r *round) groupEnds(id string) error {
	group := jobs.GroupByID[json.RawMessage](r.client, id)
	for {
		info, err := jobs.Inspect(r.ctx, group.Settled())
		if err != nil {
			return err
		}
		if info.State.Final() {
			return nil
		}
		if err := pause(r.ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// watchMemory looks at a process until it ends and returns what to ask for the most memory that it had, in MiB; 0 where the system does
// not tell.
func watchMemory(ctx context.Context, pid int) (peak func() float64) {
	var most atomic.Int64 // KiB
	file := "/proc/" + strconv.Itoa(pid) + "/status"
	go func() {
		for pause(ctx, 10*time.Millisecond) == nil {
			digits, _, _ := strings.Cut(procLine(file, "VmHWM"), " ")
			if kib, err := strconv.ParseInt(digits, 10, 64); err == nil {
				most.Store(max(most.Load(), kib))
			}
		}
	}()
	return func() float64 { return float64(most.Load()) / 1024 }
}
