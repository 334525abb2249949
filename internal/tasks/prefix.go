package tasks

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Prefix is a part of the web that http may ask: a scheme, a host with its port, and the beginning of the path.
type Prefix struct {
	scheme   string
	host     string
	port     string
	segments []string
}

// ParsePrefix reads "https://host[:port][/path]". A path covers what is at it and below it: /api covers /api and /api/x,
// not /apix. It has no user, query or fragment.
func ParsePrefix(s string) (Prefix, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Prefix{}, errors.New("is not a URL")
	}
	p, err := place(u)
	if err != nil {
		return Prefix{}, err
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#") {
		return Prefix{}, errors.New("has a query or a fragment: it is a scheme, a host and a path")
	}
	for len(p.segments) > 0 && p.segments[len(p.segments)-1] == "" {
		p.segments = p.segments[:len(p.segments)-1]
	}
	return p, nil
}

// Covers reports whether u is at the prefix or below it; the error says why not. What two servers may read in two ways (dot
// segments, encoded slashes, backslashes) is covered by none.
func (p Prefix) Covers(u *url.URL) (bool, error) {
	q, err := place(u)
	if err != nil {
		return false, err
	}
	if q.scheme != p.scheme || q.host != p.host || q.port != p.port || len(q.segments) < len(p.segments) {
		return false, nil
	}
	for i, segment := range p.segments {
		if q.segments[i] != segment {
			return false, nil
		}
	}
	return true, nil
}

// place takes a URL apart.
func place(u *url.URL) (Prefix, error) {
	p := Prefix{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Hostname()), port: u.Port()}
	switch p.scheme {
	case "http":
		p.port = orDefault(p.port, "80")
	case "https":
		p.port = orDefault(p.port, "443")
	default:
		return Prefix{}, errors.New("scheme must be http or https")
	}
	if u.User != nil {
		return Prefix{}, errors.New("holds a user; credentials go into a header")
	}
	if u.Opaque != "" || p.host == "" {
		return Prefix{}, errors.New("has no host")
	}
	path := strings.TrimPrefix(u.EscapedPath(), "/")
	if path == "" {
		return p, nil
	}
	for escaped := range strings.SplitSeq(path, "/") {
		segment, err := url.PathUnescape(escaped)
		if err != nil {
			return Prefix{}, errors.New("has a path that does not decode")
		}
		if segment == "." || segment == ".." || strings.ContainsAny(segment, "/\\\x00") {
			return Prefix{}, fmt.Errorf("has the path segment %q", escaped)
		}
		p.segments = append(p.segments, segment)
	}
	return p, nil
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
