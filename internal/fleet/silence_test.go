package fleet

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// sky is Redis as a survivor sees it: a clock, and the beats of one other worker. Times are since the start of the test.
type sky struct {
	epoch time.Time
	ahead time.Duration // of Redis' clock
	beat  Late
}

func newSky() *sky { return &sky{epoch: time.Unix(1_800_000_000, 0)} }

func (s *sky) beats(at time.Duration) {
	s.beat = Late{ID: "other", Beat: s.beat.Beat + 1, At: s.epoch.Add(at + s.ahead)}
}

// reading is what the script answers to a read that was executed at a time, sent and answered some time before and after.
func (s *sky) reading(sent, at, answered time.Duration) Reading {
	r := Reading{Sent: s.epoch.Add(sent), Answered: s.epoch.Add(answered), Now: s.epoch.Add(at + s.ahead)}
	if age := r.Now.Sub(s.beat.At); s.beat.Beat > 0 && (age >= lateAfter || age < 0) {
		r.Late = []Late{s.beat}
	}
	return r
}

// prompt is a reading that takes no time.
func (s *sky) prompt(at time.Duration) Reading { return s.reading(at, at, at) }

// firstNamed reads every half second from a time on, and returns when the other one is named first, and when as dead in spite of
// its subscription; 0 where that does not happen for 30 s.
func firstNamed(j *judge, s *sky, from time.Duration) (named, connected time.Duration) {
	for at := from; at <= from+30*time.Second; at += beatWatchful {
		silent, _ := j.read(s.prompt(at))
		for _, q := range silent {
			if named == 0 {
				named = at
			}
			if q.connected && connected == 0 {
				connected = at
			}
		}
	}
	return named, connected
}

func TestDecision01_WhenSilenceIsDeath(t *testing.T) {
	for _, tt := range []struct {
		name                    string
		play                    func(j *judge, s *sky) // up to the second 10, the last beat at the second 9 at the latest
		named, namedConnectedAt time.Duration          // since the second 9, within half a second
	}{
		{
			name: "seen and then silent",
			play: func(j *judge, s *sky) {
				for at := time.Second; at < 10*time.Second; at += time.Second {
					s.beats(at)
					j.read(s.prompt(at))
				}
			},
			named: deadAfter, namedConnectedAt: deadConnected,
		},
		{
			name:  "silent before the survivor began",
			play:  func(_ *judge, s *sky) { s.beats(9 * time.Second) },
			named: time.Second + deadUnseen, namedConnectedAt: time.Second + deadConnected,
		},
		{
			name: "silent since an outage of Redis",
			play: func(j *judge, s *sky) {
				for at := time.Second; at < 5*time.Second; at += time.Second {
					s.beats(at)
					j.read(s.prompt(at))
				}
			},
			named: time.Second + deadUnseen, namedConnectedAt: time.Second + deadConnected,
		},
		{
			name: "silent since Redis' clock was set back",
			play: func(j *judge, s *sky) {
				for at := time.Second; at < 10*time.Second; at += time.Second {
					s.beats(at)
					j.read(s.prompt(at))
				}
				s.ahead = -time.Hour
			},
			named: time.Second + deadUnseen, namedConnectedAt: time.Second + deadConnected,
		},
		{
			name: "silent since Redis' clock was set forward",
			play: func(j *judge, s *sky) {
				for at := time.Second; at < 10*time.Second; at += time.Second {
					s.beats(at)
					j.read(s.prompt(at))
				}
				s.ahead = time.Hour
			},
			named: time.Second + deadUnseen, namedConnectedAt: time.Second + deadConnected,
		},
		{
			name: "a read that took long",
			play: func(j *judge, s *sky) {
				for at := time.Second; at < 9*time.Second; at += time.Second {
					s.beats(at)
					j.read(s.prompt(at))
				}
				s.beats(9 * time.Second)
				j.read(s.reading(9*time.Second, 9*time.Second, 9400*time.Millisecond))
			},
			named: deadAfter, namedConnectedAt: deadConnected,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j, s := &judge{}, newSky()
			tt.play(j, s)
			named, connected := firstNamed(j, s, 10*time.Second)
			for _, c := range []struct {
				what      string
				got, want time.Duration
			}{{"named", named, tt.named}, {"named though connected", connected, tt.namedConnectedAt}} {
				if late := c.got - 9*time.Second - c.want; late < 0 || late > beatWatchful {
					t.Errorf("%s %s after the last beat, want within half a second of %s", c.what, c.got-9*time.Second, c.want)
				}
			}
		})
	}
}

// Reads that are all further apart than may be: each gap counts as readsApart, however long it is.
func TestDecision01_AGapCountsForLittle(t *testing.T) {
	for _, apart := range []time.Duration{readsApart + 10*time.Millisecond, 4 * time.Second, time.Hour} {
		j, s := &judge{}, newSky()
		s.beats(0)
		reads, named, connected := 0, 0, 0
		for at := 2 * time.Second; connected == 0 && reads < 100; at += apart {
			silent, gap := j.read(s.prompt(at))
			if (gap == apart) != (reads > 0) {
				t.Errorf("reads %s apart: a gap of %s", apart, gap)
			}
			for _, q := range silent {
				if named == 0 {
					named = reads
				}
				if q.connected {
					connected = reads
				}
			}
			reads++
		}
		if want := int(deadAcross / readsApart); named != want || connected != want {
			t.Errorf("reads %s apart: named behind %d gaps, behind %d though connected", apart, named, connected)
		}
	}
}

// Whatever silence lies before an outage, whose length counts for nothing, a worker has the time behind it that coming back takes.
func TestDecision01_AnOutageIsNobodysDeath(t *testing.T) {
	for _, away := range []time.Duration{readsApart + time.Millisecond, 20 * time.Second, 5 * time.Hour} {
		for _, before := range []time.Duration{0, 2 * time.Second, deadUnseen - beatWatchful, deadConnected - beatWatchful} {
			j, s := &judge{}, newSky()
			s.beats(0)
			at := 2 * time.Second // it is late when it is seen first
			for end := at + before; at < end; at += beatWatchful {
				j.read(s.prompt(at))
			}
			j.read(s.prompt(at))
			back := at + away
			named, connected := firstNamed(j, s, back)
			if named-back < deadUnseen || connected-back < deadConnected && before < deadUnseen {
				t.Errorf("silent for %s before an outage of %s: named %s behind it, %s though connected", before, away, named-back, connected-back)
			}
		}
	}
}

// Whatever happens to Redis, to its clock and to the survivor, a worker that beats each second while Redis answers is never named. Of many outages
// in a row it gets a beat between every few: the survivor has its reads there.
func TestDecision01_WhoBeatsIsNeverNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j, s := &judge{}, newSky()
		ms := func(lo, hi int, what string) time.Duration {
			return time.Duration(rapid.IntRange(lo, hi).Draw(t, what)) * time.Millisecond
		}
		read, beat := ms(0, 1000, "first read"), ms(0, 1000, "first beat")
		missed := 0 // outages since its last beat
		for range rapid.IntRange(1, 100).Draw(t, "events") {
			what := rapid.IntRange(0, 9).Draw(t, "what")
			if what == 0 && missed == 4 {
				what = 9
			}
			switch what {
			case 0: // Redis is away; who waits for it gets its answer after that, in any order
				missed++
				away := ms(1600, 20_000, "away") // a shorter one is silence like any other
				began := min(read, beat)
				back := began + away
				if rapid.Bool().Draw(t, "its clock jumps") {
					s.ahead += ms(-600_000, 600_000, "jump")
				}
				if read <= back {
					if q, _ := j.read(s.reading(read, back, back+ms(0, 300, "answer"))); len(q) > 0 {
						t.Fatalf("named by the first read after an outage: %+v", q)
					}
					read = back + ms(400, 1400, "next read")
				}
				beat = max(beat, back+ms(0, 1000, "first beat after"))
			case 1: // the survivor has no turn
				read += ms(1, 20_000, "no turn")
			default:
				for beat <= read {
					s.beats(beat)
					missed = 0
					beat += ms(500, 1300, "next beat")
				}
				sent := read - ms(0, 200, "way there")
				answered := read + ms(0, 200, "way back")
				if q, _ := j.read(s.reading(sent, read, answered)); len(q) > 0 {
					t.Fatalf("named: %+v at %s, its next beat at %s", q, read, beat)
				}
				read = answered + ms(200, 1400, "next read")
			}
		}
	})
}

// A worker that beats a master which is none any more is not dead by the silence that the next master has of it: it is given the time that
// finding the next one takes.
func TestDecision01_AnotherMasterIsAGap(t *testing.T) {
	for _, failover := range []bool{false, true} {
		j, s := &judge{}, newSky()
		named := time.Duration(0)
		for at := time.Duration(0); named == 0; at += time.Second {
			if at <= 3*time.Second {
				s.beats(at)
			}
			r := s.prompt(at)
			if r.Master = "one"; failover && at > 3*time.Second {
				r.Master = "two"
			}
			if q, _ := j.read(r); len(q) > 0 {
				named = at - 3*time.Second
			}
		}
		if (named >= deadUnseen) != failover {
			t.Errorf("failover %v: named after %v of silence", failover, named)
		}
	}
}
