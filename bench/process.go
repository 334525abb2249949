package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// process is a worker process.
type process struct {
	role     string
	command  *exec.Cmd
	input    io.WriteCloser
	answers  chan answer
	stopOnce sync.Once
	stopped  chan struct{} // closed when it is to end
	ended    chan struct{}
}

const answerTime = 30 * time.Second // the longest that a worker process takes to obey

// inherited are the variables of the environment that worker processes get, nothing else: a URL with a password may stand there.
var inherited = []string{"PATH", "HOME", "TMPDIR", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GODEBUG", "GOTRACEBACK"}

func environment() (env []string) {
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// start starts worker processes, one for each job, all at once; they rest until they are told to work. If one ends before it is
// stopped, the session ends, too.
func (s *session) start(jobs ...job) ([]*process, error) {
	started := make([]*process, 0, len(jobs))
	for _, j := range jobs {
		p, err := s.startOne(j)
		if err != nil {
			stopAll(started)
			return nil, err
		}
		started = append(started, p)
	}
	return started, nil
}

func (s *session) startOne(j job) (*process, error) {
	j.Target, j.Keys, j.Profiles = s.cfg.Target, s.keys, s.cfg.Profiles
	// Not with a context: it ends with its input, and is killed where it does not listen.
	command := exec.Command(s.cfg.Program, WorkerCommand)
	command.Env = environment()
	endWithParent(command)
	command.Stderr = s.cfg.Stderr
	input, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	// Not StdoutPipe: Wait would close it under the reader.
	output, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	command.Stdout = theirs
	err = command.Start()
	_ = theirs.Close()
	if err != nil {
		return nil, errors.Join(err, output.Close())
	}
	p := &process{role: j.Role, command: command, input: input, answers: make(chan answer), stopped: make(chan struct{}), ended: make(chan struct{})}
	s.pids = append(s.pids, command.Process.Pid)
	go p.listen(s, output)
	if err := json.NewEncoder(input).Encode(j); err != nil {
		p.stop()
		return nil, fmt.Errorf("the %s process did not start: %w", j.Role, err)
	}
	return p, nil
}

// listen passes answers on until the process has ended.
func (p *process) listen(s *session, output io.ReadCloser) {
	defer close(p.ended)
	defer output.Close()
	lines := json.NewDecoder(output)
	for {
		var a answer
		if err := lines.Decode(&a); err != nil {
			break
		}
		select {
		case p.answers <- a:
		case <-p.stopped: // nobody asks any more
		}
	}
	_ = p.command.Wait()
	select {
	case <-p.stopped:
	default:
		s.cancel(fmt.Errorf("a %s process ended early: %v", p.role, p.command.ProcessState))
	}
}

// ask gives an order and returns the answer.
func (p *process) ask(ctx context.Context, o order) (answer, error) {
	if err := json.NewEncoder(p.input).Encode(o); err != nil {
		return answer{}, fmt.Errorf("telling a %s process to %s: %w", p.role, o, err)
	}
	late := time.NewTimer(answerTime)
	defer late.Stop()
	select {
	case a := <-p.answers:
		if a.Err != "" {
			return a, fmt.Errorf("a %s process told to %s: %s", p.role, o, a.Err)
		}
		return a, nil
	case <-p.ended:
		return answer{}, fmt.Errorf("a %s process told to %s has ended", p.role, o)
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	case <-late.C:
		return answer{}, fmt.Errorf("a %s process told to %s does not answer within %v", p.role, o, answerTime)
	}
}

// cpu returns the CPU time that the process has used, in microseconds.
func (p *process) cpu(ctx context.Context) (float64, error) {
	a, err := p.ask(ctx, orderUsage)
	return a.Values[cpuValue], err
}

// stop asks the process to end and waits for it, and kills one that does not listen.
func (p *process) stop() { stopAll([]*process{p}) }

func stopAll(all []*process) {
	for _, p := range all {
		p.stopOnce.Do(func() { close(p.stopped) })
		_ = p.input.Close()
	}
	late := time.After(endTime)
	for _, p := range all {
		select {
		case <-p.ended:
		case <-late:
			_ = p.command.Process.Kill()
			<-p.ended
		}
	}
}
