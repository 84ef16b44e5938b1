// Package azure is the site of a resource group in one region of Azure, or of a cloud that speaks the same protocol. It
// captures machines by incremental snapshots and the differences between them, and makes machines from disks that it
// uploads. Resources are JSON over the official pipeline, login and pollers: docs/decisions/0008 says why.
package azure

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"understudy/internal/dr"
	"understudy/internal/site/azure/pep"
)

// Provider is the name of the kind of site.
const Provider = "azure"

// Config of a Site.
type Config struct {
	Name         string // of the site
	Dir          string // for the site's own state
	Subscription string
	Tenant       string // empty: as the environment says
	Location     string // region; empty: any, for looking only
	Group        string // resource group

	Cloud     string // public, usgov, china, azurestack or custom
	Endpoint  string // of Resource Manager, for a custom cloud and an Azure Stack Hub
	Authority string // of the login, for a custom cloud
	Audience  string // of tokens, for a custom cloud; Endpoint when empty
	// StorageVersion is the version of the protocol that an Azure Stack Hub speaks at its disks; 2019-07-07 when empty.
	StorageVersion string
	CA             string // PEM file of certificates to trust beside the system's

	Networks     map[string]string // subnet (VNET/SUBNET or its ID) that stands for a network; "" for the usual one
	Size         string            // of machines that have none of Azure; the smallest common one that is large enough when empty
	Zone         string
	Availability string // availability set
	DiskSKU      string
	NSG          string // network security group of network interfaces
	Reach        string // private or public: by which address machines are probed

	Workspace   string            // Log Analytics workspace that heartbeats arrive at
	LogEndpoint string            // of its queries
	Rules       map[string]string // data collection rule, or endpoint, that stands for another site's

	Updates string      // region of an Azure Stack Hub whose updates are watched, by its administrator's endpoint
	PEP     *pep.Config // of the privileged endpoint, which is asked while that one does not answer; nil: none

	Credential azcore.TokenCredential // instead of the environment's
	Now        func() time.Time
	Logger     *slog.Logger
	Poll       time.Duration // how often an operation is asked whether it goes on, unless it says; 2 s when 0
}

// Site is one resource group in one region. Its methods may be called from many goroutines at once.
type Site struct {
	cfg  Config
	rest *rest
	can  profile
	http *http.Client // for disks
	pep  *pep.Client  // nil: none

	life context.Context // ends with Close
	end  context.CancelCauseFunc

	mu    sync.Mutex
	state state          // also in Dir
	open  map[string]int // disks in use by "machine/disk": readers, or -1 for a writer
	locks map[string]*sync.Mutex

	captures map[string]string // that are under way: their IDs, by group
}

// New opens a site. It asks nothing of Azure.
func New(cfg Config) (*Site, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Poll = cmp.Or(cfg.Poll, 2*time.Second)
	cfg.DiskSKU, cfg.Reach = cmp.Or(cfg.DiskSKU, "Premium_LRS"), cmp.Or(cfg.Reach, "private")
	client, err := httpClient(cfg.CA)
	if err != nil {
		return nil, err
	}
	c, err := cfg.cloud()
	if err != nil {
		return nil, err
	}
	options := azcore.ClientOptions{Cloud: c, Transport: client, Retry: policy.RetryOptions{MaxRetries: 2, RetryDelay: 400 * time.Millisecond, MaxRetryDelay: 30 * time.Second}}
	if cfg.Credential == nil && cfg.Cloud == CloudHub {
		cfg.Credential = &hubCredential{http: client, endpoint: cfg.Endpoint, tenant: cfg.Tenant, options: options, now: cfg.Now}
	}
	if cfg.Credential == nil {
		cfg.Credential, err = azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
			ClientOptions: options, TenantID: cfg.Tenant, DisableInstanceDiscovery: cfg.Cloud == "custom"})
		if err != nil {
			return nil, dr.WithHint(fmt.Errorf("log in to Azure: %w", err), dr.KindInvalid, "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or run where there is a managed identity")
		}
	}
	patient := options
	patient.PerCallPolicies = []policy.Policy{patience{}}
	client2, err := arm.NewClient("understudy", "v1.0.0", cfg.Credential, &arm.ClientOptions{ClientOptions: patient, DisableRPRegistration: true})
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	can := cfg.profile()
	s := &Site{cfg: cfg, can: can, http: client, open: map[string]int{}, locks: map[string]*sync.Mutex{}, captures: map[string]string{},
		rest: &rest{client: client2, credential: cfg.Credential, dir: filepath.Join(cfg.Dir, "operations"), poll: cfg.Poll, versions: can.versions, endpoint: client2.Endpoint()}}
	if cfg.PEP != nil {
		if s.pep, err = pep.New(*cfg.PEP); err != nil {
			return nil, err
		}
	}
	s.rest.sweep(cfg.Now().Add(-24 * time.Hour))
	s.life, s.end = context.WithCancelCause(context.Background())
	return s, s.load()
}

// Close ends the use of all open disks.
func (s *Site) Close() error {
	s.end(errClosed)
	return nil
}

// httpClient trusts the certificates of a file, too.
func httpClient(ca string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	if ca == "" {
		return &http.Client{Transport: transport}, nil
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		return nil, dr.WithHint(err, dr.KindInvalid, "ca is a PEM file")
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, dr.WithHint(fmt.Errorf("%s holds no certificate", ca), dr.KindInvalid, "ca is a PEM file")
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	return &http.Client{Transport: transport}, nil
}

func (c Config) cloud() (cloud.Configuration, error) {
	switch c.Cloud {
	case "", "public":
		return cloud.AzurePublic, nil
	case "usgov":
		return cloud.AzureGovernment, nil
	case "china":
		return cloud.AzureChina, nil
	case "custom", CloudHub:
		return cloud.Configuration{ActiveDirectoryAuthorityHost: c.Authority, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: c.Endpoint, Audience: cmp.Or(c.Audience, c.Endpoint)}}}, nil
	}
	return cloud.Configuration{}, dr.WithHint(fmt.Errorf("cloud %q is not known", c.Cloud), dr.KindInvalid, "public, usgov, china, azurestack or custom")
}

// group is the ID of the resource group.
func (s *Site) group() string {
	return "/subscriptions/" + s.cfg.Subscription + "/resourceGroups/" + s.cfg.Group
}

func (s *Site) compute(kind, name string) string {
	return s.group() + "/providers/Microsoft.Compute/" + kind + "/" + name
}

func (s *Site) network(kind, name string) string {
	return s.group() + "/providers/Microsoft.Network/" + kind + "/" + name
}

// lastName is the last element of an ID.
func lastName(id string) string { return id[strings.LastIndex(id, "/")+1:] }

// alone serialises what changes one machine.
func (s *Site) alone(machine string) func() {
	s.mu.Lock()
	l := s.locks[strings.ToLower(machine)]
	if l == nil {
		l = &sync.Mutex{}
		s.locks[strings.ToLower(machine)] = l
	}
	s.mu.Unlock()
	l.Lock()
	return l.Unlock
}

// explain classes an error of Azure and says what helps.
func explain(err error) error {
	var e *azcore.ResponseError
	if err == nil || !errors.As(err, &e) {
		var d *dr.Error
		if err == nil || errors.As(err, &d) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return dr.WithHint(err, dr.KindUnavailable, "see that Azure can be reached from here: understudy site doctor SITE")
	}
	text := fmt.Errorf("azure says %s: %s", cmp.Or(e.ErrorCode, fmt.Sprint(e.StatusCode)), message(e))
	switch {
	case e.StatusCode == http.StatusNotFound:
		return dr.WithHint(text, dr.KindNotFound, "see that the resource group and the subscription are right")
	case e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden:
		return dr.WithHint(text, dr.KindInvalid, "see what is missing: understudy site doctor SITE")
	case e.StatusCode == http.StatusTooManyRequests:
		return dr.WithHint(text, dr.KindUnavailable, "Azure asks for patience: try again in some minutes")
	case e.StatusCode >= 500:
		return dr.WithHint(text, dr.KindUnavailable, "see the health of the region, and try again")
	case e.StatusCode == http.StatusConflict:
		return dr.WithHint(text, dr.KindConflict, "wait for what is under way, and try again")
	}
	return dr.WithHint(text, dr.KindInvalid, "see docs/azure.md")
}

// is reports whether an error is an answer of Azure with a status.
func is(err error, status int) bool {
	var e *azcore.ResponseError
	return errors.As(err, &e) && e.StatusCode == status
}
