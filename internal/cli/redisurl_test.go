package cli

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	tests := []struct {
		url  string
		want Target
		show string
	}{
		{"redis://127.0.0.1:6379/0", Target{Kind: Single, Addrs: []string{"127.0.0.1:6379"}}, "redis://127.0.0.1:6379/0"},
		{"redis://localhost", Target{Kind: Single, Addrs: []string{"localhost:6379"}}, "redis://localhost:6379/0"},
		{" redis://h:1/15/\n", Target{Kind: Single, Addrs: []string{"h:1"}, DB: 15}, "redis://h:1/15"},
		{"REDIS://h", Target{Kind: Single, Addrs: []string{"h:6379"}}, "redis://h:6379/0"},
		{"rediss://u:p@h/3", Target{Kind: Single, TLS: true, Addrs: []string{"h:6379"}, DB: 3, Username: "u", Password: "p"}, "rediss://h:6379/3"},
		{"redis://:se%23c%2Fr%40et+@h", Target{Kind: Single, Addrs: []string{"h:6379"}, Password: "se#c/r@et+"}, "redis://h:6379/0"},
		{"redis://:a@b:c@h", Target{Kind: Single, Addrs: []string{"h:6379"}, Password: "a@b:c"}, "redis://h:6379/0"},
		{"redis://a%3Ab%40:%25%3F%2C@h", Target{Kind: Single, Addrs: []string{"h:6379"}, Username: "a:b@", Password: "%?,"}, "redis://h:6379/0"},
		{"redis://[::1]:7000/2", Target{Kind: Single, Addrs: []string{"[::1]:7000"}, DB: 2}, "redis://[::1]:7000/2"},
		{"redis://[fe80::1]", Target{Kind: Single, Addrs: []string{"[fe80::1]:6379"}}, "redis://[fe80::1]:6379/0"},
		{"redis+sentinel://h1:26379,h2:26380/mymaster/0", Target{Kind: Sentinel, Addrs: []string{"h1:26379", "h2:26380"}, Master: "mymaster"}, "redis+sentinel://h1:26379,h2:26380/mymaster/0"},
		{
			"rediss+sentinel://u:p@h1,h2/m?sentinel_username=su&sentinel_password=sp",
			Target{Kind: Sentinel, TLS: true, Addrs: []string{"h1:26379", "h2:26379"}, Master: "m", Username: "u", Password: "p", SentinelUsername: "su", SentinelPassword: "sp"},
			"rediss+sentinel://h1:26379,h2:26379/m/0",
		},
		{"redis+cluster://h1:7000,h2", Target{Kind: Cluster, Addrs: []string{"h1:7000", "h2:6379"}}, "redis+cluster://h1:7000,h2:6379"},
		{"redis+cluster://h1/0", Target{Kind: Cluster, Addrs: []string{"h1:6379"}}, "redis+cluster://h1:6379"},
		{"embedded", Target{Kind: Embedded}, "embedded"},
	}
	for _, tt := range tests {
		got, err := ParseURL(tt.url)
		if err != nil {
			t.Errorf("ParseURL(%q): %v", tt.url, err)
			continue
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("ParseURL(%q) = %+v, want %+v", tt.url, got, tt.want)
		}
		if s := got.String(); s != tt.show {
			t.Errorf("ParseURL(%q).String() = %q, want %q", tt.url, s, tt.show)
		}
		if again, err := ParseURL(got.URL()); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("ParseURL(%q).URL() = %q, which is %+v, %v", tt.url, got.URL(), again, err)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	tests := []struct{ url, why string }{
		{"", "no scheme"},
		{"hunter2", "no scheme"},
		{"h:6379", "no scheme"},
		{"http://hunter2", "scheme is not known"},
		{"redissss://h", "scheme is not known"},
		{"redis+tls://h", "scheme is not known"},
		{"redis://", "no host"},
		{"redis://:hunter2@", "no host"},
		{"redis://:6379", "no host"},
		{"redis://h:0", "port"},
		{"redis://h:65536", "port"},
		{"redis://h:hunter2", "port"},
		{"redis://[::1", "host"},
		{"redis://[hunter2]", "IPv6"},
		{"redis://[::1]hunter2", "brackets"},
		{"redis://h/hunter2", "database"},
		{"redis://h/-1", "database"},
		{"redis://h/4294967296", "database"},
		{"redis://h/0/0", "database"},
		{"redis://h1,h2", "more than one address"},
		{"redis://:hunter2#x@h", "%23"},
		{"redis://:hunt/er2@h", "%2F"},
		{"redis://:hunt%er2@h", "%25"},
		{"redis://:hunter2?@h", "%3F"},
		{"redis://h?hunter2=1", "query"},
		{"redis+sentinel://h1", "master"},
		{"redis+sentinel://h1/", "master"},
		{"redis+sentinel://h1/m?hunter2=1", "sentinel_username"},
		{"redis+cluster://h1/1", "must be 0"},
		{"redis+cluster://h1,,h2", "address 2"},
	}
	for _, tt := range tests {
		_, err := ParseURL(tt.url)
		if err == nil {
			t.Errorf("ParseURL(%q): no error", tt.url)
			continue
		}
		if !strings.Contains(err.Error(), tt.why) {
			t.Errorf("ParseURL(%q): %v, want %q in it", tt.url, err, tt.why)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("ParseURL(%q): the error quotes the URL: %v", tt.url, err)
		}
	}
}

// FuzzParseURL puts a marker into arbitrary places of a URL: no error and no String may show it from a password's place.
func FuzzParseURL(f *testing.F) {
	f.Add("redis://", "@h:1/2")
	f.Add("redis://:", "@h,h/2?x=1#")
	f.Add("redis+sentinel://u:", "@h1,h2/m/0?sentinel_password=x")
	f.Add("rediss+cluster://[::1]:", "%zz")
	f.Add("", "")
	const secret = "PassW0rdMarker"
	f.Fuzz(func(t *testing.T, before, after string) {
		got, err := ParseURL(before + secret + after)
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Fatalf("the error shows what may be a password: %v", err)
			}
			return
		}
		if strings.Contains(got.Password, secret) && strings.Contains(got.String(), secret) {
			t.Fatalf("String shows the password: %s", got)
		}
		if got.Kind != Embedded && len(got.Addrs) == 0 {
			t.Fatalf("no address: %+v", got)
		}
		again, err := ParseURL(got.String())
		if err != nil {
			// A master's name may hold what a URL has to escape; it is for people there.
			if got.Kind == Sentinel {
				return
			}
			t.Fatalf("String %q does not parse: %v", got, err)
		}
		if got.Kind != Sentinel && (!reflect.DeepEqual(again.Addrs, got.Addrs) || again.DB != got.DB || again.Kind != got.Kind || again.TLS != got.TLS) {
			t.Fatalf("%+v became %+v", got, again)
		}
	})
}
