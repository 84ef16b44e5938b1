// Package sim is a simulation of Azure for tests and demonstrations: Resource Manager with its long-running operations,
// login, machines, disks, snapshots, networks, extensions and monitoring, in several regions, with faults on demand.
// No guest runs in it: a machine is state, and its disks are bytes (see the pages package).
package sim

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"understudy/test/azsim/pages"
)

// Options of a Sim.
type Options struct {
	Listen       string   // 127.0.0.1:0 when empty
	Dir          string   // for the certificate's file
	Subscription string   // DefaultSubscription when empty
	Regions      []string // francecentral, brazilsouth and westeurope when nil
	Now          func() time.Time

	Polls      int           // how often an operation says that it goes on
	Duration   time.Duration // of an operation, at least
	RetryAfter time.Duration // what callers are told to wait; 5 ms when 0
	CopyTime   time.Duration // of a copy to another region, or of a blob

	// Versions are those of the API that there are, by the lower-case namespace of a provider; any where there is none.
	Versions map[string][]string

	Actions, NotActions []string // what is allowed to whom the permissions are asked for; everything when nil
	Cores               int      // quota of processors in a region; 100 when 0
	// HeartbeatEvery is the interval of a monitoring agent that works; 1 s when 0.
	HeartbeatEvery time.Duration
	// Console is what a machine wrote on its serial console, and RunCommand what a script in it does; nil for the usual.
	Console    func(vm string) string
	RunCommand func(vm, script string) (stdout, stderr string, exit int)
}

// DefaultSubscription is the subscription that is there.
const DefaultSubscription = "7a0c3f60-0000-4000-8000-0000000000aa"

// A Sim is one simulated cloud. Its methods may be called from many goroutines at once.
type Sim struct {
	o      Options
	pages  *pages.Service
	server *http.Server
	url    string
	ca     string
	faults faults
	tokens tokens
	pool   *x509.CertPool

	mu         sync.Mutex
	resources  map[string]*resource // by ID in lower case
	operations map[string]*operation
	disks      map[string]*pages.Blob // content of disks and snapshots, by ID in lower case
	guests     map[string]*guest      // what runs, by the machine's ID in lower case
	copies     map[string]time.Time   // when a copy to another region ends, by the snapshot's ID in lower case
	down       map[string]bool
	calls      map[string]int
	extra      []Extra
	pageFault  func(pages.Call) *pages.Failure
}

// Test is what Start needs of a test.
type Test interface {
	Helper()
	TempDir() string
	Cleanup(func())
	Fatal(args ...any)
}

// Start starts a simulation that ends with the test.
func Start(t Test, o Options) *Sim {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// New starts a simulation.
func New(o Options) (*Sim, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Subscription == "" {
		o.Subscription = DefaultSubscription
	}
	if o.Actions == nil {
		o.Actions = []string{"*"}
	}
	if o.NotActions == nil {
		o.NotActions = []string{}
	}
	if o.Cores == 0 {
		o.Cores = 100
	}
	if o.Regions == nil {
		o.Regions = []string{"francecentral", "brazilsouth", "westeurope"}
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.HeartbeatEvery == 0 {
		o.HeartbeatEvery = time.Second
	}
	s := &Sim{o: o, resources: map[string]*resource{}, operations: map[string]*operation{}, disks: map[string]*pages.Blob{}, guests: map[string]*guest{},
		copies: map[string]time.Time{}, down: map[string]bool{}, calls: map[string]int{},
		tokens: tokens{now: o.Now, life: time.Hour, list: map[string]time.Time{}}}
	s.pages = pages.New(pages.Options{Now: o.Now, URL: s.URL, Before: s.beforePage, Token: s.tokens.valid, CopyTime: o.CopyTime})
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	s.url = "https://" + listener.Addr().String()
	cert, err := s.certificate(listener.Addr())
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s.server = &http.Server{Handler: s, MaxHeaderBytes: 16 << 20, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = s.server.ServeTLS(listener, "", "") }() // ends with Close
	return s, nil
}

// Close ends it at once.
func (s *Sim) Close() { _ = s.server.Close() }

// URL is where Resource Manager, the login and the disks are.
func (s *Sim) URL() string { return s.url }

// CA is the file of the certificate that the server's is signed by.
func (s *Sim) CA() string { return s.ca }

// Env is the environment that lets the official clients log in.
func (s *Sim) Env() map[string]string {
	return map[string]string{"AZURE_TENANT_ID": TenantID, "AZURE_CLIENT_ID": ClientID, "AZURE_CLIENT_SECRET": ClientSecret, "AZURE_SUBSCRIPTION_ID": s.o.Subscription}
}

// Config is the settings of an azure site in it.
func (s *Sim) Config(region, group string) map[string]string {
	return map[string]string{"cloud": "custom", "endpoint": s.url, "authority": s.url + "/", "audience": s.url, "ca": s.ca,
		"subscription": s.o.Subscription, "tenant": TenantID, "location": region, "resource-group": group}
}

// Account makes a storage account with a new key, which it returns in base64. It is at NAME.blob.core.windows.net, and below /NAME.
func (s *Sim) Account(name string, premium bool) string {
	key := []byte(s.newID())
	s.pages.AddAccount(name, key, premium)
	return base64.StdEncoding.EncodeToString(key)
}

// Client is an HTTP client that trusts it.
func (s *Sim) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.pool}}}
}

func (s *Sim) newID() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

func (s *Sim) certificate(addr net.Addr) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "simulated Azure"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.ParseIP(host)},
		DNSNames:    []string{"localhost", "management.azure.com", "login.microsoftonline.com", "api.loganalytics.io", "*.blob.core.windows.net"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	s.ca = filepath.Join(s.o.Dir, "azsim-ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.pool = x509.NewCertPool()
	s.pool.AppendCertsFromPEM(text)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.WriteFile(s.ca, text, 0o644)
}

// An Extra answers paths of services beside Resource Manager. It reports whether it did.
type Extra func(w http.ResponseWriter, r *http.Request) bool

// Serve adds an Extra.
func (s *Sim) Serve(e Extra) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extra = append(s.extra, e)
}

// ServeHTTP implements http.Handler.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	extra := s.extra
	s.mu.Unlock()
	for _, e := range extra {
		if e(w, r) {
			return
		}
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/_sim/"):
		s.serveControl(w, r)
	case strings.HasPrefix(r.URL.Path, "/md-"):
		s.pages.ServeHTTP(w, r)
	case s.pages.Owns(r):
		s.pages.ServeAccount(w, r)
	case strings.HasPrefix(r.URL.Path, "/v1/workspaces/"):
		s.serveQuery(w, r)
	case strings.HasPrefix(r.URL.Path, consolePath):
		s.serveConsole(w, r)
	case strings.HasPrefix(strings.ToLower(r.URL.Path), "/subscriptions"), strings.HasPrefix(r.URL.Path, operationsPath):
		s.serveARM(w, r)
	case strings.HasPrefix(r.URL.Path, "/providers/"): // what the services can do: nothing that is told
		s.write(w, r, answer{status: http.StatusOK, body: doc{"value": []any{}}})
	case s.serveLogin(w, r):
	default:
		s.refuse(w, refusal(http.StatusNotFound, "NotFound", "nothing is at %s", r.URL.Path))
	}
}

// beforePage lets a region that is down, and faults, reach the disks.
func (s *Sim) beforePage(c pages.Call) *pages.Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls["pages "+c.Op]++
	if res := s.find(c.Disk); res != nil && s.down[normal(res.region)] {
		return &pages.Failure{Status: http.StatusServiceUnavailable, Code: "ServerBusy"}
	}
	if s.pageFault != nil {
		return s.pageFault(c)
	}
	return nil
}

// PageFault sets what may go wrong with requests to disks; nil for nothing.
func (s *Sim) PageFault(f func(pages.Call) *pages.Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pageFault = f
}

// SetDown takes a region down, or lets it come back.
func (s *Sim) SetDown(region string, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down[normal(region)] = down
}

// ExpireGrants ends all signed URLs of disks.
func (s *Sim) ExpireGrants() { s.pages.Expire() }

// Disk returns the content of a disk or snapshot, as a guest sees it, or nil.
func (s *Sim) Disk(id string) *pages.Blob {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disks[strings.ToLower(id)]
}

// Grant returns a signed URL that a disk or snapshot is read by.
func (s *Sim) Grant(id string) string {
	return s.pages.Grant(s.Disk(id), false, s.o.Now().Add(time.Hour))
}

// Blank makes the content of a disk that no resource has, and returns a signed URL that it is written by, and what removes it.
func (s *Sim) Blank(id string, size int64) (url string, remove func()) {
	b := s.pages.CreateDisk(id, size)
	return s.pages.Grant(b, true, s.o.Now().Add(time.Hour)), func() { s.pages.Remove(b) }
}

// IDs lists the resources of a kind, such as Microsoft.Compute/disks.
func (s *Sim) IDs(kind string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, key := range sortedKeys(s.resources) {
		if s.resources[key].kind == strings.ToLower(kind) {
			out = append(out, s.resources[key].id)
		}
	}
	return out
}

// Calls returns how often each operation was called; the counting begins anew.
func (s *Sim) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.calls
	s.calls = map[string]int{}
	return out
}

func (s *Sim) count(method string, t target) {
	name := method + " " + t.kind
	if t.action != "" {
		name += " " + t.action
	}
	s.calls[name]++
}

// Wait returns when the server is there.
func (s *Sim) Wait(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/metadata/endpoints", nil)
	if err != nil {
		return err
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
