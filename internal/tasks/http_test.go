package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestPrefixCovers(t *testing.T) {
	tests := []struct {
		prefix, url string
		want        bool
	}{
		{"http://h", "http://h", true},
		{"http://h", "http://h/", true},
		{"http://h", "http://h/any/thing?q=1#f", true},
		{"http://h/", "http://h", true},
		{"http://h", "HTTP://H:80/x", true},
		{"https://h", "https://h:443/x", true},
		{"http://h:80", "http://h/x", true},
		{"http://h", "https://h", false},
		{"https://h", "http://h", false},
		{"http://h", "http://h:8080", false},
		{"http://h", "http://h.evil.org", false},
		{"http://h", "http://evil.org/h", false},
		{"http://h", "http://evil.org?http://h", false},
		{"http://h", "http://h@evil.org/", false},
		{"http://h", "http://u:p@h/", false},
		{"http://h", "http://h.", false},
		{"http://h", "ftp://h/", false},
		{"http://h", "/x", false},
		{"http://h", "http:h/x", false},
		{"http://h", "//h/x", false},
		{"http://h/api", "http://h/api", true},
		{"http://h/api", "http://h/api/", true},
		{"http://h/api", "http://h/api/x", true},
		{"http://h/api/", "http://h/api", true},
		{"http://h/api", "http://h/%61pi/x", true},
		{"http://h/api", "http://h/apix", false},
		{"http://h/api", "http://h/API", false},
		{"http://h/api", "http://h/", false},
		{"http://h/api", "http://h//api", false},
		{"http://h/api", "http://h/x/api", false},
		{"http://h/api", "http://h/api/../admin", false},
		{"http://h/api", "http://h/api/%2e%2e/admin", false},
		{"http://h/api", "http://h/api/.%2E/admin", false},
		{"http://h/api", "http://h/api/./x", false},
		{"http://h/api", "http://h/api%2f..%2fadmin", false},
		{"http://h/api", "http://h/api/..%2fadmin", false},
		{"http://h/api", `http://h/api/..\admin`, false},
		{"http://h/api", "http://h/api/%5c../x", false},
		{"http://h/api", "http://h/api/%00", false},
		{"http://[::1]:8080/x", "http://[::1]:8080/x/y", true},
		{"http://[::1]:8080/x", "http://[::1]/x/y", false},
		{"http://h/a b", "http://h/a%20b/c", true},
	}
	for _, tt := range tests {
		p, err := ParsePrefix(tt.prefix)
		if err != nil {
			t.Errorf("ParsePrefix(%q): %v", tt.prefix, err)
			continue
		}
		u, err := url.Parse(tt.url)
		if err != nil {
			if tt.want {
				t.Errorf("%q: %v", tt.url, err)
			}
			continue
		}
		if got, err := p.Covers(u); got != tt.want || got && err != nil {
			t.Errorf("%q covers %q: %v, %v; want %v", tt.prefix, tt.url, got, err, tt.want)
		}
	}
}

func TestParsePrefixRefuses(t *testing.T) {
	for _, s := range []string{"", "h", "/api", "ftp://h", "http://", "http://u@h", "http://u:p@h/", "http://h?q", "http://h/?", "http://h#f", "http://h#", "http:h", "http://h/a/../b", "http://h/%2f", "http://h:x"} {
		if _, err := ParsePrefix(s); err == nil {
			t.Errorf("ParsePrefix(%q) is accepted", s)
		}
	}
	if _, err := newRequester([]string{"http://u:hunter2@h"}); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "--allow-http") {
		t.Errorf("error %v", err)
	}
}

// FuzzPrefix checks that what a prefix covers is asked at its host, under its path, however the URL is written.
func FuzzPrefix(f *testing.F) {
	f.Add("http://h/api", "http://h/api/../x")
	f.Add("https://h:8443", "https://h:8443@evil/")
	f.Add("http://[::1]/a%2fb", "http://[::1]/a/b")
	f.Fuzz(func(t *testing.T, prefix, target string) {
		p, err := ParsePrefix(prefix)
		if err != nil {
			return
		}
		u, err := url.Parse(target)
		if err != nil {
			return
		}
		if ok, err := p.Covers(u); !ok || err != nil {
			return
		}
		if strings.ToLower(u.Hostname()) != p.host || u.User != nil {
			t.Fatalf("%q covers %q", prefix, target)
		}
		want := "/" + strings.Join(p.segments, "/")
		clean := "/" + strings.TrimPrefix(u.JoinPath().Path, "/") // dot segments resolved
		if len(p.segments) > 0 && clean != want && !strings.HasPrefix(clean, want+"/") {
			t.Fatalf("%q covers %q, whose path is %q", prefix, target, clean)
		}
	})
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Got", r.Method+"|"+r.Header.Get("Content-Type")+"|"+r.Header.Get("X-In"))
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(body)
	})
	mux.HandleFunc("/api/down", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		http.Error(w, "try later", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/api/broken", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, strings.Repeat("é", 5000), http.StatusInternalServerError)
	})
	mux.HandleFunc("/api/binary", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0xff, 0x00}) })
	mux.HandleFunc("/api/long", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxBody+1)) })
	mux.HandleFunc("/api/in", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/api/binary", http.StatusFound) })
	mux.HandleFunc("/api/out", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/admin", http.StatusFound) })
	mux.HandleFunc("/api/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://elsewhere.invalid/api", http.StatusFound)
	})
	mux.HandleFunc("/api/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/api/loop", http.StatusFound) })
	mux.HandleFunc("/admin", func(http.ResponseWriter, *http.Request) { t.Error("/admin was asked") })
	server := httptest.NewServer(mux)
	defer server.Close()
	gone := httptest.NewServer(mux)
	gone.Close()

	tests := []struct {
		name      string
		args      string
		status    int
		body      string
		binary    []byte
		truncated bool
		header    string
		fail      string
		permanent bool
	}{
		{name: "get", args: `{"url":"/api/echo","headers":{"x-in":"a"}}`, status: 418, header: "GET||a"},
		{name: "text", args: `{"url":"/api/echo","body":"<text>"}`, status: 418, body: "<text>", header: "POST||"},
		{name: "JSON as it stands", args: `{"url":"/api/echo","method":"PUT","body":{"a" : 1.50}}`, status: 418, body: `{"a" : 1.50}`, header: "PUT|application/json|"},
		{name: "own content type", args: `{"url":"/api/echo","headers":{"content-type":"x/y"},"body":[1]}`, status: 418, body: `[1]`, header: "POST|x/y|"},
		{name: "not found is a result", args: `{"url":"/api/none"}`, status: 404, body: "404 page not found\n"},
		{name: "not UTF-8", args: `{"url":"/api/binary"}`, status: 200, binary: []byte{0xff, 0x00}},
		{name: "redirect inside", args: `{"url":"/api/in"}`, status: 200, binary: []byte{0xff, 0x00}},
		{name: "capped", args: `{"url":"/api/long"}`, status: 200, binary: make([]byte, maxBody), truncated: true},
		{name: "redirect outside", args: `{"url":"/api/out"}`, fail: "refused redirect", permanent: true},
		{name: "redirect to another host", args: `{"url":"/api/away"}`, fail: "refused redirect", permanent: true},
		{name: "redirects without end", args: `{"url":"/api/loop"}`, fail: "redirects", permanent: true},
		{name: "outside", args: `{"url":"/admin"}`, fail: "not below a prefix", permanent: true},
		{name: "dots", args: `{"url":"/api/../admin"}`, fail: "path segment", permanent: true},
		{name: "503", args: `{"url":"/api/down"}`, fail: "503 Service Unavailable: try later"},
		{name: "500", args: `{"url":"/api/broken"}`, fail: "éé…"},
		{name: "bad method", args: `{"url":"/api/echo","method":"A B"}`, fail: "method", permanent: true},
		{name: "host header", args: `{"url":"/api/echo","headers":{"host":"x"}}`, fail: "headers", permanent: true},
		{name: "header with a line break", args: `{"url":"/api/echo","headers":{"x":"a\r\nb: c"}}`, fail: "invalid header"},
	}
	r, err := newRequester([]string{server.URL + "/api", gone.URL})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var args HTTPArgs
			if err := json.Unmarshal([]byte(tt.args), &args); err != nil {
				t.Fatal(err)
			}
			args.URL = server.URL + args.URL
			got, err := r.handle(context.Background(), args)
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) || isPermanent(err) != tt.permanent {
					t.Fatalf("error %v (permanent %v), want %q", err, isPermanent(err), tt.fail)
				}
				if len(err.Error()) > 4096 {
					t.Errorf("the message has %d bytes", len(err.Error()))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Status != tt.status || got.Body != tt.body || string(got.BodyBase64) != string(tt.binary) || got.BodyTruncated != tt.truncated {
				t.Errorf("got %d %q %d bytes %v", got.Status, got.Body, len(got.BodyBase64), got.BodyTruncated)
			}
			if h := http.Header(got.Headers).Get("X-Got"); tt.header != "" && h != tt.header {
				t.Errorf("the server got %q, want %q", h, tt.header)
			}
		})
	}

	if _, err := r.handle(context.Background(), HTTPArgs{URL: gone.URL}); err == nil || isPermanent(err) {
		t.Errorf("no server: %v", err)
	}
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	if _, err := r.handle(ctx, HTTPArgs{URL: server.URL + "/api/echo"}); !errors.Is(err, why) {
		t.Errorf("after the context's end: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second, "99999999999": 24 * time.Hour, "9999999": 24 * time.Hour,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": 0,
		"": -1, "-1": -1, "soon": -1,
	} {
		got, ok := retryAfter(header, now)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}
