package cli

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Kind is the kind of Redis that a URL names.
type Kind string

// The kinds of Redis.
const (
	Single   Kind = "redis"
	Sentinel Kind = "sentinel"
	Cluster  Kind = "cluster"
	Embedded Kind = "embedded" // in this process
)

// Target is a Redis as a URL names it.
type Target struct {
	Kind             Kind
	TLS              bool
	Addrs            []string // host:port; of the sentinels or of the cluster's seeds where it is one
	Master           string   // the name that the sentinels know
	DB               int
	Username         string
	Password         string
	SentinelUsername string
	SentinelPassword string
}

// schemes lists what ParseURL takes, for its messages.
const schemes = "redis://, rediss://, redis+sentinel://, rediss+sentinel://, redis+cluster://, rediss+cluster:// or embedded"

// String names the Redis for logs and messages: no user, no password.
func (t Target) String() string {
	scheme := "redis"
	if t.TLS {
		scheme = "rediss"
	}
	hosts := strings.Join(t.Addrs, ",")
	switch t.Kind {
	case Embedded:
		return "embedded"
	case Sentinel:
		return fmt.Sprintf("%s+sentinel://%s/%s/%d", scheme, hosts, t.Master, t.DB)
	case Cluster:
		return fmt.Sprintf("%s+cluster://%s", scheme, hosts)
	}
	return fmt.Sprintf("%s://%s/%d", scheme, hosts, t.DB)
}

// ParseURL reads the URL of a Redis:
//
//	redis://[user[:password]@]host[:port][/db]                        rediss:// over TLS
//	redis+sentinel://[user[:password]@]host[:port],…/master[/db]      ?sentinel_username= and ?sentinel_password= for the sentinels
//	redis+cluster://[user[:password]@]host[:port],…
//	embedded
//
// A user or password with characters other than letters and digits is percent-encoded. No error quotes any part of the URL:
// where it is malformed, nobody knows which part is the password.
func ParseURL(s string) (Target, error) {
	s = strings.TrimSpace(s)
	if s == "embedded" || s == "embedded://" {
		return Target{Kind: Embedded}, nil
	}
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		return Target{}, fmt.Errorf("the URL has no scheme; it begins with %s", schemes)
	}
	t := Target{}
	port := "6379"
	switch scheme = strings.ToLower(scheme); strings.TrimPrefix(scheme, "rediss") {
	case "", "+sentinel", "+cluster":
		t.TLS = true
		scheme = "redis" + strings.TrimPrefix(scheme, "rediss")
	}
	switch scheme {
	case "redis":
		t.Kind = Single
	case "redis+sentinel":
		t.Kind = Sentinel
		port = "26379"
	case "redis+cluster":
		t.Kind = Cluster
	default:
		return Target{}, fmt.Errorf("the URL's scheme is not known; it begins with %s", schemes)
	}
	if strings.Contains(rest, "#") {
		return Target{}, errors.New(`the URL has a "#"; in a password it is written %23`)
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if strings.Contains(query, "@") && !strings.Contains(authority, "@") {
		return Target{}, errors.New(`the URL has a "?" before the "@"; in a password it is written %3F`)
	}
	if strings.Contains(path, "@") {
		return Target{}, errors.New(`the URL has a "/" before the "@"; in a password it is written %2F`)
	}
	if err := t.parseAuthority(authority, port); err != nil {
		return Target{}, err
	}
	if err := t.parsePath(path); err != nil {
		return Target{}, err
	}
	return t, t.parseQuery(query)
}

func (t *Target) parseAuthority(authority, port string) error {
	hosts := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		hosts = authority[i+1:]
		user, password, _ := strings.Cut(authority[:i], ":")
		var err, err2 error
		t.Username, err = url.PathUnescape(user)
		t.Password, err2 = url.PathUnescape(password)
		if err != nil || err2 != nil {
			return errors.New(`the URL's user or password has a "%" that begins no escape; it is written %25`)
		}
	}
	for i, host := range strings.Split(hosts, ",") {
		addr, err := address(host, port)
		if err != nil {
			return fmt.Errorf("address %d of the URL %w", i+1, err)
		}
		t.Addrs = append(t.Addrs, addr)
	}
	if t.Kind == Single && len(t.Addrs) > 1 {
		return errors.New("the URL names more than one address; that takes redis+sentinel:// or redis+cluster://")
	}
	return nil
}

// address returns host:port of what may lack the port.
func address(s, port string) (string, error) {
	host := s
	if inner, after, ok := strings.Cut(strings.TrimPrefix(s, "["), "]"); ok && strings.HasPrefix(s, "[") {
		if net.ParseIP(inner) == nil {
			return "", errors.New("is in brackets but is no IPv6 address")
		}
		host = inner
		if after != "" {
			p, ok := strings.CutPrefix(after, ":")
			if !ok {
				return "", errors.New("has something other than a port behind its brackets")
			}
			port = p
		}
	} else if h, p, ok := strings.Cut(s, ":"); ok {
		host, port = h, p
	}
	if host == "" {
		return "", errors.New("has no host")
	}
	if strings.ContainsAny(host, " \t\r\n\"'<>\\^`{|}%@[]") {
		return "", errors.New("has a host with characters that no host name has")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("has a port that is not a number from 1 to 65535")
	}
	return net.JoinHostPort(host, port), nil
}

func (t *Target) parsePath(path string) error {
	path = strings.TrimSuffix(path, "/")
	if t.Kind == Sentinel {
		master, db, _ := strings.Cut(path, "/")
		name, err := url.PathUnescape(master)
		if err != nil || name == "" {
			return errors.New("the URL has no master's name: redis+sentinel://host:port,…/master/db")
		}
		t.Master, path = name, db
	}
	if path == "" {
		return nil
	}
	db, err := strconv.ParseUint(path, 10, 31)
	if err != nil {
		return errors.New("the URL's database is not a number from 0 up")
	}
	if t.Kind == Cluster && db != 0 {
		return errors.New("the URL's database must be 0: a cluster has no other")
	}
	t.DB = int(db)
	return nil
}

func (t *Target) parseQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the URL's query does not parse")
	}
	for key := range values {
		switch {
		case t.Kind == Sentinel && key == "sentinel_username":
			t.SentinelUsername = values.Get(key)
		case t.Kind == Sentinel && key == "sentinel_password":
			t.SentinelPassword = values.Get(key)
		case t.Kind == Sentinel:
			return errors.New("the URL's query may hold sentinel_username and sentinel_password alone")
		default:
			return errors.New(`the URL has a query, which only redis+sentinel:// may have; in a password "?" is written %3F`)
		}
	}
	return nil
}

// URL returns a URL of t that ParseURL reads as t, user and password included: it belongs neither into a log nor among the arguments of a
// program.
func (t Target) URL() string {
	if t.Kind == Embedded {
		return "embedded"
	}
	escape := func(s string) string { return strings.NewReplacer(":", "%3A", "@", "%40").Replace(url.PathEscape(s)) }
	shown := t
	shown.Master = url.PathEscape(t.Master)
	scheme, rest, _ := strings.Cut(shown.String(), "://")
	if t.Username != "" || t.Password != "" {
		rest = escape(t.Username) + ":" + escape(t.Password) + "@" + rest
	}
	if t.SentinelUsername != "" || t.SentinelPassword != "" {
		rest += "?" + url.Values{"sentinel_username": {t.SentinelUsername}, "sentinel_password": {t.SentinelPassword}}.Encode()
	}
	return scheme + "://" + rest
}
