package tasks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gatherq/gatherq/pkg/jobs"
)

const (
	maxBody      = 128 << 10 // of a response; what comes after is dropped
	maxHeaders   = 32 << 10  // of a response; more is an error
	maxRedirects = 10
	maxQuoted    = 1 << 10 // of a response's body in an error message
)

// HTTPArgs are the arguments of HTTP.
type HTTPArgs struct {
	// Method defaults to GET, with a body to POST.
	Method string `json:"method,omitempty"`

	// URL must be below a prefix that the worker allows, and hold no user.
	URL string `json:"url"`

	Headers map[string]string `json:"headers,omitempty"`

	// Body is sent as it is where it is a string; other JSON is sent as JSON, and says so in Content-Type.
	Body json.RawMessage `json:"body,omitempty"`
}

// UnmarshalJSON refuses unknown fields.
func (a *HTTPArgs) UnmarshalJSON(data []byte) error {
	type plain HTTPArgs
	if err := unmarshalStrict(data, (*plain)(a)); err != nil {
		return err
	}
	if a.URL == "" {
		return errors.New("url is empty")
	}
	return nil
}

// HTTPResult is the result of HTTP: any answer below status 500 but 429.
type HTTPResult struct {
	Status        int                 `json:"status"`
	Headers       map[string][]string `json:"headers"`
	Body          string              `json:"body"` // at most 128 KiB
	BodyBase64    []byte              `json:"body_base64,omitempty"`
	BodyTruncated bool                `json:"body_truncated,omitempty"`
}

// HTTP asks a server below a prefix that the worker allows, so that a handler may be written in any language. Redirects are
// followed below the prefixes alone. A status of 500 and above, 429, and a server that does not answer are failures that may
// be retried, after Retry-After where the server says so; any other answer is the result.
var HTTP = jobs.Define[HTTPArgs, HTTPResult]("http")

// requester asks below its prefixes.
type requester struct {
	prefixes []Prefix
	client   *http.Client
}

func newRequester(prefixes []string) (*requester, error) {
	r := &requester{}
	for _, s := range prefixes {
		p, err := ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("--allow-http %q: %w", redacted(s), err)
		}
		r.prefixes = append(r.prefixes, p)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = maxHeaders
	transport.MaxIdleConnsPerHost = 32
	r.client = &http.Client{
		Transport: transport,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects {
				return errRedirects
			}
			if err := r.allowed(req.URL); err != nil {
				return fmt.Errorf("%w: %w", errRedirectOut, err)
			}
			return nil
		},
	}
	return r, nil
}

var (
	errRedirects   = fmt.Errorf("stopped after %d redirects", maxRedirects)
	errRedirectOut = errors.New("refused redirect")
)

// redacted drops what may be a password from a URL that does not parse as a prefix.
func redacted(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…" + s[i:]
	}
	return s
}

// allowed returns nil if u is below a prefix.
func (r *requester) allowed(u *url.URL) error {
	for _, p := range r.prefixes {
		if ok, err := p.Covers(u); err != nil {
			return fmt.Errorf("url %w", err)
		} else if ok {
			return nil
		}
	}
	return fmt.Errorf("url at %s is not below a prefix of --allow-http", u.Scheme+"://"+u.Host+u.EscapedPath())
}

func (r *requester) handle(ctx context.Context, args HTTPArgs) (HTTPResult, error) {
	req, err := r.request(ctx, args)
	if err != nil {
		return HTTPResult{}, jobs.Permanent(err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return HTTPResult{}, requestError(ctx, err)
	}
	defer resp.Body.Close()
	body := &capped{limit: maxBody}
	if _, err := io.Copy(body, io.LimitReader(resp.Body, maxBody+1)); err != nil {
		return HTTPResult{}, requestError(ctx, fmt.Errorf("reading the response: %w", err))
	}
	result := HTTPResult{Status: resp.StatusCode, Headers: resp.Header}
	result.Body, result.BodyBase64, result.BodyTruncated = body.text()
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		err := fmt.Errorf("%s %s: status %s: %s", req.Method, req.URL.Redacted(), resp.Status, quoted(result.Body))
		if wait, ok := retryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
			return HTTPResult{}, jobs.RetryAfter(err, wait)
		}
		return HTTPResult{}, err
	}
	return result, nil
}

// request builds the request; every error is one of the arguments.
func (r *requester) request(ctx context.Context, args HTTPArgs) (*http.Request, error) {
	u, err := url.Parse(args.URL)
	if err != nil {
		return nil, errors.New("url does not parse")
	}
	if err := r.allowed(u); err != nil {
		return nil, err
	}
	body, isJSON, err := requestBody(args.Body)
	if err != nil {
		return nil, err
	}
	method := args.Method
	if method == "" {
		method = http.MethodGet
		if body != nil {
			method = http.MethodPost
		}
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body) // known to net/http, so that a redirect can send it again
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), reader)
	if err != nil {
		return nil, fmt.Errorf("method or url: %w", err)
	}
	if isJSON {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range args.Headers {
		switch http.CanonicalHeaderKey(name) {
		case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Trailer":
			return nil, fmt.Errorf("headers %q is set by the connection", name)
		}
		req.Header.Set(name, value)
	}
	return req, nil
}

// requestBody returns the bytes to send, nil for none.
func requestBody(raw json.RawMessage) (body []byte, isJSON bool, err error) {
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil, false, nil
	case raw[0] == '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return []byte(s), false, err
	}
	return raw, true, nil
}

// requestError says which failures a new attempt cannot mend.
func requestError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, errRedirectOut) || errors.Is(err, errRedirects) {
		return jobs.Permanent(err)
	}
	return err
}

func quoted(body string) string {
	if len(body) > maxQuoted {
		return string(trimRune([]byte(body[:maxQuoted]))) + "…"
	}
	return body
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(header string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.Atoi(header); err == nil && seconds >= 0 {
		return min(time.Duration(min(seconds, 1<<30))*time.Second, 24*time.Hour), true
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), 24*time.Hour), true
	}
	return 0, false
}
