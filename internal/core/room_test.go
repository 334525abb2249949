package core

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Nothing is let in above 85 % of the fullest server's maxmemory; what was let in since the reading counts, buffers do not.
func TestDecision18_RoomIsThatOfTheFullestServer(t *testing.T) {
	server := func(used, limit, buffers string) Server {
		return Server{"used_memory": used, "maxmemory": limit, "mem_not_counted_for_evict": buffers}
	}
	for _, test := range []struct {
		name    string
		servers []Server
		bytes   int64
		full    bool
	}{
		{"never read", nil, 1 << 40, false},
		{"denied", []Server{{}}, 1 << 40, false},
		{"no limit", []Server{server("1000", "0", "0")}, 1 << 40, false},
		{"just", []Server{server("800", "1000", "0")}, 50, false},
		{"too much", []Server{server("800", "1000", "0")}, 51, true},
		{"with buffers", []Server{server("900", "1000", "100")}, 50, false},
		{"one of two is full", []Server{server("10", "1000", "0"), server("95", "100", "0"), server("20", "0", "0")}, 1, true},
	} {
		var r room
		if test.servers != nil {
			r.learn(test.servers)
		}
		_, _, err := r.admit(test.bytes)
		if _, full := errors.AsType[*FullError](err); full != test.full {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	var r room
	r.learn([]Server{server("0", "100", "0")})
	for n := range 10 {
		if _, _, err := r.admit(10); (err != nil) != (n >= 8) {
			t.Errorf("10 bytes after %d others: %v", 10*n, err)
		}
	}
}

// It is read once a second while something is created, by one of those who do; where Redis does not say, once a minute.
func TestDecision18_RoomIsReadOnceASecond(t *testing.T) {
	for _, test := range []struct {
		server Server
		want   int
	}{{Server{"used_memory": "1", "maxmemory": "100"}, 60}, {Server{}, 1}} {
		synctest.Test(t, func(t *testing.T) {
			var r room
			reads := 0
			for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
				for range 3 {
					stale, ask, _ := r.admit(0)
					if ask && !stale {
						t.Fatal("a fresh reading is asked for")
					}
					if ask {
						reads++
						r.learn([]Server{test.server})
						r.asked()
					}
				}
			}
			if reads != test.want {
				t.Errorf("%v: read %d times in a minute, want %d", test.server, reads, test.want)
			}
		})
	}
}
