package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// authority is a certificate authority of a test's own.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, dir, name string) authority {
	t.Helper()
	a := authority{file: filepath.Join(dir, name+".pem")}
	a.cert, a.key = certify(t, a, a.file, "", &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// certify writes a certificate, and its key where a file is named; without an authority it is its own.
func certify(t *testing.T, by authority, certFile, keyFile string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := by.cert, by.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	write := func(file, kind string, bytes []byte) {
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(certFile, "CERTIFICATE", der)
	if keyFile != "" {
		bytes, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(keyFile, "PRIVATE KEY", bytes)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// Over rediss:// both programs work with a server that an authority of theirs vouches for, and with no other: one of another authority,
// or with a certificate of another host, is refused, and the message says why.
func TestSecurity_TLSAsksWhoAnswers(t *testing.T) { // not parallel: SSL_CERT_FILE is the process'
	dir := t.TempDir()
	ours, theirs := newAuthority(t, dir, "ours"), newAuthority(t, dir, "theirs")
	port := func(names ...string) string {
		t.Helper()
		free, err := redistest.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		cert, key := filepath.Join(dir, strconv.Itoa(free)+".pem"), filepath.Join(dir, strconv.Itoa(free)+".key")
		c := &x509.Certificate{Subject: pkix.Name{CommonName: "redis"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		for _, n := range names {
			if ip := net.ParseIP(n); ip != nil {
				c.IPAddresses = append(c.IPAddresses, ip)
			} else {
				c.DNSNames = append(c.DNSNames, n)
			}
		}
		certify(t, ours, cert, key, c)
		redistest.Local(t, "--tls-port", strconv.Itoa(free), "--tls-cert-file", cert, "--tls-key-file", key,
			"--tls-ca-cert-file", ours.file, "--tls-auth-clients", "no")
		return strconv.Itoa(free)
	}
	s := &redistest.Server{Name: "redis-server over TLS", URL: "rediss://127.0.0.1:" + port("127.0.0.1") + "/0"}
	other := &redistest.Server{Name: "a server of another name", URL: "rediss://127.0.0.1:" + port("elsewhere.example") + "/0"}
	refused := func(s *redistest.Server, why string) {
		t.Helper()
		for _, p := range []*program{start(t, s, "producer", "", "create", "echo", "1"), start(t, s, "worker", "", "--admin", "off")} {
			if code := p.wait(t, patience); code != 5 || !strings.Contains(p.stderr.String(), why) {
				t.Errorf("%s: exit %d, %s", p.name, code, p.stderr.String())
			}
		}
	}
	t.Setenv("SSL_CERT_FILE", ours.file)
	worker(t, s)
	if got := produce(t, s, 0, "create", "echo", `1`, "--await"); got != "1" {
		t.Errorf("%s", got)
	}
	refused(other, "cannot validate certificate for 127.0.0.1")
	refused(&redistest.Server{URL: strings.Replace(s.URL, "127.0.0.1", "localhost", 1)}, "wanted to match localhost")
	t.Setenv("SSL_CERT_FILE", theirs.file)
	refused(s, "certificate signed by unknown authority")
}

// A password that is changed in the file of --redis-file and in Redis needs no restart of anything: what runs goes on, who awaits gets
// the result.
func TestDecision19_RotatedCredentialsNeedNoRestart(t *testing.T) {
	t.Parallel()
	s := redistest.Local(t)
	admin := s.Client(t)
	file := filepath.Join(t.TempDir(), "url")
	rotate := func(password string) {
		t.Helper()
		url := strings.Replace(s.URL, "redis://", "redis://gq:"+password+"@", 1)
		if err := os.WriteFile(file+".new", []byte(url), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		if err := admin.Do(t.Context(), "acl", "setuser", "gq", "on", "resetpass", ">"+password, "~*", "&*", "+@all").Err(); err != nil {
			t.Fatal(err)
		}
	}
	rotate("first-secret")
	w := worker(t, s, "--redis-file", file)
	waits := start(t, s, "producer", "", "create", "sim", `{"steps":[{"sleep_ms":1500},{"return":"kept"}]}`, "--await", "--redis-file", file)
	eventually(t, "it runs", func() bool { return w.metric(t, "gatherq_handlers_running") == 1 })
	rotate("second-secret")
	if n, err := admin.Do(t.Context(), "client", "kill", "user", "gq").Int(); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	if got := produce(t, s, 0, "create", "echo", `2`, "--await", "--redis-file", file); got != "2" {
		t.Errorf("%s", got)
	}
	if code := waits.wait(t, patience); code != 0 || strings.TrimSpace(waits.stdout.String()) != `"kept"` {
		t.Errorf("exit %d: %s %s", code, waits.stdout.String(), waits.stderr.String())
	}
	old := &redistest.Server{URL: strings.Replace(s.URL, "redis://", "redis://gq:first-secret@", 1)}
	for name, c := range map[string]struct {
		server *redistest.Server
		why    string
	}{
		"the old password": {old, "WRONGPASS"},
		"none":             {s, "NOAUTH"},
		"no rights":        {&redistest.Server{URL: strings.Replace(s.URL, "redis://", "redis://poor:second-secret@", 1)}, "NOPERM"},
	} {
		switch name {
		case "none":
			if err := admin.Do(t.Context(), "acl", "setuser", "default", "resetpass", ">third-secret").Err(); err != nil {
				t.Fatal(err)
			}
		case "no rights":
			if err := admin.Do(t.Context(), "acl", "setuser", "poor", "on", ">second-secret", "~*", "&*", "+@all", "-@write", "-@scripting").Err(); err != nil {
				t.Fatal(err)
			}
		}
		p := start(t, c.server, "producer", "", "create", "echo", "1")
		if code := p.wait(t, patience); code != 5 || !strings.Contains(p.stderr.String(), c.why) || !strings.Contains(p.stderr.String(), string(jobs.ErrUnavailable)) {
			t.Errorf("%s: exit %d, %s", name, code, p.stderr.String())
		}
		for _, out := range []string{p.stderr.String(), w.stderr.String(), waits.stderr.String()} {
			if strings.Contains(out, "-secret") {
				t.Errorf("%s: a password is told: %s", name, out)
			}
		}
	}
}
