package bench

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/gatherq/gatherq/internal/cli"
)

func TestPayloadsAre32BytesForEveryMember(t *testing.T) {
	t.Parallel()
	for _, member := range []int{0, 1, 99_999, maxMembers - 1} {
		args, err := json.Marshal(argsOf(member))
		if err != nil {
			t.Fatal(err)
		}
		result, err := runAdd(args)
		if err != nil {
			t.Fatal(err)
		}
		if len(args) != payloadBytes || len(result) != payloadBytes {
			t.Errorf("member %d: %s and %s are not %d bytes", member, args, result, payloadBytes)
		}
		if got, err := decodeSum(result); err != nil || got != argsOf(member).add() {
			t.Errorf("member %d: %+v, %v", member, got, err)
		}
	}
}

func TestTextsAre100Bytes(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, i := range []int{0, 1, 2, 999_999, maxMembers} {
		plain, err := json.Marshal(text(i, textBytes-len(`""`)))
		if err != nil {
			t.Fatal(err)
		}
		line := pageLine(i, 0)
		if len(plain) != textBytes || len(line) != textBytes {
			t.Errorf("text %d: %s and %s are not %d bytes", i, plain, line, textBytes)
		}
		if seen[string(plain)] {
			t.Errorf("text %d is not one of its own", i)
		}
		seen[string(plain)] = true
	}
}

func TestCheckSumsFindsAWrongOne(t *testing.T) {
	t.Parallel()
	sums := []sum{argsOf(0).add(), argsOf(1).add()}
	if err := checkSums(sums, 2); err != nil {
		t.Fatal(err)
	}
	if checkSums(sums, 3) == nil {
		t.Error("a missing one went unnoticed")
	}
	sums[1].Sum++
	if checkSums(sums, 2) == nil {
		t.Error("a wrong sum went unnoticed")
	}
}

func names(selected []scenario) (names []string) {
	for _, sc := range selected {
		names = append(names, sc.name)
	}
	return names
}

func TestSelectScenarios(t *testing.T) {
	t.Parallel()
	all := scenarios(Config{Members: 1_000_000, Fleet: 20})
	for only, want := range map[string][]string{
		"":                    names(all),
		"gather":              {"gather-100k", "gather-10k", "gather-1ms", "gather-100ms"},
		"idle":                {"idle-alone", "idle-fleet"},
		"single-1":            {"single-1"},
		"ping-pong":           {"round-trip"},
		"asynq-poll":          {"round-trip", "single-256", "gather-10k"},
		"asynq-poll idle":     {"round-trip"},
		"wake, idle-alone":    {"idle-alone", "wake"},
		"fan-out,gather-100k": {"gather-100k"},
	} {
		selected, err := selectScenarios(all, only)
		if err != nil || !slices.Equal(names(selected), want) {
			t.Errorf("%q selects %v, %v, want %v", only, names(selected), err, want)
		}
	}
	for _, only := range []string{"fa", "gather,nothing", ",", "gather-"} {
		if selected, err := selectScenarios(all, only); err == nil {
			t.Errorf("%q selects %v", only, names(selected))
		}
	}
}

func TestScenariosHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, quick := range []bool{false, true} {
		seen := make(map[string]bool)
		for _, sc := range scenarios(Config{Members: 1000, Fleet: 20, Quick: quick}) {
			if seen[sc.name] {
				t.Errorf("two are called %s", sc.name)
			}
			seen[sc.name] = true
			sides := make(map[string]bool)
			for _, sd := range sc.sides {
				if sides[sd.name] || sd.n < 1 {
					t.Errorf("%s: side %q twice, or of %d operations", sc.name, sd.name, sd.n)
				}
				sides[sd.name] = true
			}
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	good := Config{Target: cli.Target{Kind: cli.Single, Addrs: []string{"127.0.0.1:1"}}, Rounds: 1, Members: 1000, Fleet: 1}
	if _, err := good.check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"--redis embedded":    func(c *Config) { c.Target = cli.Target{Kind: cli.Embedded} },
		"one Redis server":    func(c *Config) { c.Target.Kind = cli.Cluster },
		"--redis redis+senti": func(c *Config) { c.Target.Kind = cli.Sentinel },
		"--rounds 0":          func(c *Config) { c.Rounds = 0 },
		"--rounds 101":        func(c *Config) { c.Rounds = 101 },
		"--members 999":       func(c *Config) { c.Members = 999 },
		"--members 9000001":   func(c *Config) { c.Members = 9_000_001 },
		"--fleet 0":           func(c *Config) { c.Fleet = 0 },
		"--fleet 201":         func(c *Config) { c.Fleet = 201 },
		"--only: no measurem": func(c *Config) { c.Only = "everything" },
	} {
		cfg := good
		change(&cfg)
		if _, err := Run(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), want) || cli.Code(err) != cli.ExitUsage {
			t.Errorf("%v (exit %d), want one of usage with %q", err, cli.Code(err), want)
		}
	}
}

func TestWorkerProcessesInheritNoSecrets(t *testing.T) {
	t.Setenv("GATHERQ_REDIS_URL", "redis://:hunter2@h")
	t.Setenv("GATHERQ_RETRIES", "3")
	t.Setenv("GOMAXPROCS", "2")
	env := environment()
	if !slices.Contains(env, "GOMAXPROCS=2") {
		t.Errorf("%q: what governs the runtime is missing", env)
	}
	for _, variable := range env {
		if strings.HasPrefix(variable, "GATHERQ_") {
			t.Errorf("%q is inherited", variable)
		}
	}
}

func TestWorkRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "EOF", "{": "unexpected EOF", `{"role":"king"}`: `no role "king"`} {
		if err := Work(t.Context(), strings.NewReader(in), &strings.Builder{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}
