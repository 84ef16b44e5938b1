package need

import (
	"context"
	_ "embed" // the provider's script
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Cache is the folder that `make tools` fills, and that is kept between runs.
func Cache() string {
	if dir := os.Getenv("UNDERSTUDY_TOOLS_DIR"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache")
		}
		dir = filepath.Dir(dir)
	}
	return ".cache"
}

// A Server is a program that a test started. It ends with the test.
type Server struct {
	Address      string // host:port, on loopback
	User, Secret string
	name         string
	arguments    []string
	command      *exec.Cmd
	done         chan error
}

// S3 starts versitygw, an S3 server, on an empty folder.
func S3(t testing.TB) *Server {
	t.Helper()
	program := filepath.Join(Cache(), "bin", "versitygw")
	if _, err := os.Stat(program); err != nil {
		Missing(t, "versitygw is not installed: run `make tools`")
	}
	s := &Server{Address: free(t), User: "understudy", Secret: "understudy-secret", name: program}
	data := t.TempDir()
	s.arguments = []string{"--access", s.User, "--secret", s.Secret, "--port", s.Address, "--iam-dir", t.TempDir(), "--quiet", "posix", "--versioning-dir", t.TempDir(), data}
	s.Start(t)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

// AddUser adds a user to an S3 server, who may do what the policies of buckets say.
func (s *Server) AddUser(t testing.TB, name, secret string) {
	t.Helper()
	out, err := exec.Command(s.name, "admin", "--access", s.User, "--secret", s.Secret, "--endpoint-url", "http://"+s.Address,
		"create-user", "--access", name, "--secret", secret, "--role", "user").CombinedOutput()
	if err != nil {
		t.Fatalf("add user %s: %v\n%s", name, err, out)
	}
}

// Azurite's well-known account.
const (
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// Blob starts Azurite's blob service, in memory. User and Secret are the account and its key.
func Blob(t testing.TB) *Server {
	t.Helper()
	script := filepath.Join(Cache(), "azurite", "node_modules", "azurite", "dist", "src", "blob", "main.js")
	if _, err := os.Stat(script); err != nil {
		Missing(t, "Azurite is not installed: run `make tools`")
	}
	Tool(t, "node")
	s := &Server{Address: free(t), User: azuriteAccount, Secret: azuriteKey, name: "node"}
	host, port, _ := strings.Cut(s.Address, ":")
	s.arguments = []string{script, "--inMemoryPersistence", "--silent", "--blobHost", host, "--blobPort", port, "--disableTelemetry"}
	s.Start(t)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

//go:embed oidc.mjs
var oidcScript string

// OIDC starts oidc-provider, a provider of identities, with a client (User and Secret) that browsers are sent back to at
// /v1/oidc/corp/callback on loopback. Accounts is a JSON file with the claims of each account, which it reads at each login;
// with inToken they are in the token of the identity, else they are told when asked only. With a redirect browsers are sent
// back there, and nowhere else.
func OIDC(t testing.TB, accounts string, inToken bool, redirect ...string) *Server {
	t.Helper()
	library := filepath.Join(Cache(), "oidc", "node_modules", "oidc-provider", "lib", "index.js")
	if _, err := os.Stat(library); err != nil {
		Missing(t, "oidc-provider is not installed: run `make tools`")
	}
	Tool(t, "node")
	s := &Server{Address: free(t), User: "understudy", Secret: "understudy-secret", name: "node"}
	s.arguments = []string{"--input-type=module", "-e", oidcScript, "--", library, s.Address, s.User, s.Secret, accounts, fmt.Sprint(inToken)}
	s.arguments = append(s.arguments, redirect...)
	s.Start(t)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

// Start starts the server, and returns when it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.command = exec.Command(s.name, s.arguments...)
	s.command.Dir = t.TempDir()
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	s.done = make(chan error, 1)
	go func() { s.done <- s.command.Wait() }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		c, err := net.Dial("tcp", s.Address)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case err := <-s.done:
			s.done <- err
			t.Fatalf("%s ended: %v", filepath.Base(s.name), err)
		case <-ctx.Done():
			t.Fatalf("%s does not answer at %s", filepath.Base(s.name), s.Address)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the server, as a crash does.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.command == nil {
		return
	}
	_ = s.command.Process.Kill() // it may have ended by itself
	<-s.done
	s.command = nil
}

// free is an address on loopback that nobody listens at.
func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr())
}
