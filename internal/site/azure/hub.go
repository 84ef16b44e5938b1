package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"understudy/internal/dr"
)

// CloudHub is an Azure Stack Hub, by its users' endpoint.
const CloudHub = "azurestack"

// A profile is what a cloud can do, as its versions of the API say.
type profile struct {
	versions    map[string]string // by type of resource, or namespace
	storage     string            // version of the protocol of disks' content; empty for the client's own
	incremental bool              // snapshots of what changed, which can be compared
	zones       bool
	uefi        bool // machines of generation 2
	diagnostics bool // boot diagnostics in the cloud's own store
	monitoring  bool // data collection rules
	viewed      bool // lists of machines can have their power states
	skus        []string
	sizes       []size
	maxDisk     int64 // bytes; 0 for as much as it takes
}

type size struct {
	name   string
	cpus   int
	memory int // MiB
}

// azureProfile is the public cloud's.
func azureProfile() profile {
	return profile{versions: versions(), incremental: true, zones: true, uefi: true, diagnostics: true, monitoring: true, viewed: true}
}

// hubProfile is the 2020-09-01-hybrid profile of Azure Stack Hub, 2102 and later:
// https://learn.microsoft.com/azure-stack/user/azure-stack-profiles-azure-resource-manager-versions. What it cannot is in
// azure-stack-acs-differences, azure-stack-managed-disk-considerations and azure-stack-vm-considerations beside that page.
func hubProfile() profile {
	return profile{
		versions: map[string]string{
			"microsoft.compute":                      "2020-06-01",
			"microsoft.compute/disks":                "2019-07-01",
			"microsoft.compute/snapshots":            "2019-07-01",
			"microsoft.network":                      "2018-11-01",
			"microsoft.authorization":                "2016-09-01",
			"microsoft.authorization/permissions":    "2015-07-01",
			"microsoft.update.admin":                 "2016-05-01",
			"microsoft.infrastructureinsights.admin": "2016-05-01",
			subscriptionLocations:                    "2016-06-01",
			"":                                       "2019-10-01",
		},
		storage: "2019-07-07",
		skus:    []string{"Premium_LRS", "Standard_LRS"},
		maxDisk: 1023 << 30,
		sizes: []size{{"Standard_F2s_v2", 2, 4 << 10}, {"Standard_DS2_v2", 2, 7 << 10}, {"Standard_DS11_v2", 2, 14 << 10}, {"Standard_F4s_v2", 4, 8 << 10}, {"Standard_DS3_v2", 4, 14 << 10},
			{"Standard_DS12_v2", 4, 28 << 10}, {"Standard_F8s_v2", 8, 16 << 10}, {"Standard_DS4_v2", 8, 28 << 10}, {"Standard_DS13_v2", 8, 56 << 10}, {"Standard_F16s_v2", 16, 32 << 10},
			{"Standard_DS5_v2", 16, 56 << 10}, {"Standard_DS14_v2", 16, 112 << 10}},
	}
}

// subscriptionLocations are the regions of a subscription, which no provider has.
const subscriptionLocations = "subscriptions/locations"

// sizeFor is the smallest size that is large enough.
func (p profile) sizeFor(cpus, memory int) string {
	for _, s := range p.sizes {
		if s.cpus >= cpus && s.memory >= memory {
			return s.name
		}
	}
	return p.sizes[len(p.sizes)-1].name
}

// sku is the kind of disk that is nearest to one of another cloud.
func (p profile) sku(name string) string {
	for _, s := range p.skus {
		if s == name {
			return name
		}
	}
	switch {
	case len(p.skus) == 0:
		return name
	case strings.HasPrefix(name, "Standard"):
		return p.skus[len(p.skus)-1]
	}
	return p.skus[0]
}

// fits refuses what the cloud cannot run.
func (p profile) fits(m dr.Machine, generation string) error {
	if generation == "V2" && !p.uefi {
		return dr.WithHint(errors.New("it starts by UEFI, and an Azure Stack Hub has machines of generation 1 only"), dr.KindInvalid,
			"make it start by BIOS where it is: a boot loader in the first sectors of a disk with an MBR or a BIOS boot partition (understudy preflight)")
	}
	for _, d := range m.Disks {
		if p.maxDisk > 0 && d.Size > p.maxDisk {
			return dr.WithHint(fmt.Errorf("disk %s has %d bytes, and an Azure Stack Hub takes %d", d.Name, d.Size, p.maxDisk), dr.KindInvalid, "spread its content over several disks")
		}
	}
	return nil
}

// storageVersion has requests to disks speak an older version of the protocol.
type storageVersion string

// Do implements policy.Policy.
func (v storageVersion) Do(req *policy.Request) (*http.Response, error) {
	// The client writes this key as it is; Header.Set would add another.
	req.Raw().Header["x-ms-version"] = []string{string(v)} //nolint:staticcheck // not canonical on purpose
	return req.Next()
}

// hubCredential logs in to an Azure Stack Hub, whose Resource Manager says where that is done and for whom.
type hubCredential struct {
	http     *http.Client
	endpoint string
	tenant   string
	options  azcore.ClientOptions
	now      func() time.Time

	mu     sync.Mutex
	inner  azcore.TokenCredential
	scope  string
	token  string // the login's, for AD FS
	target string // audience
	last   azcore.AccessToken
}

// discover asks where to log in.
func (c *hubCredential) discover(ctx context.Context) error {
	if c.inner != nil {
		return nil
	}
	var answer struct {
		Authentication struct {
			LoginEndpoint string   `json:"loginEndpoint"`
			Audiences     []string `json:"audiences"`
		} `json:"authentication"`
	}
	at := strings.TrimRight(c.endpoint, "/") + "/metadata/endpoints?api-version=2015-01-01"
	if err := c.ask(ctx, http.MethodGet, at, nil, &answer); err != nil {
		return dr.WithHint(fmt.Errorf("ask the stack where to log in: %w", err), dr.KindUnavailable, "see that endpoint is https://management.REGION.FQDN, and ca its certificate authority's")
	}
	login := answer.Authentication.LoginEndpoint
	if login == "" || len(answer.Authentication.Audiences) == 0 {
		return dr.WithHint(errors.New("the stack does not say where to log in"), dr.KindUnavailable, "see that endpoint is https://management.REGION.FQDN")
	}
	c.target = answer.Authentication.Audiences[0]
	c.scope = strings.TrimRight(c.target, "/") + "/.default"
	tenant := c.tenant
	host, federated := strings.CutSuffix(strings.TrimRight(login, "/"), "/adfs")
	if federated {
		tenant, c.token = "adfs", host+"/adfs/oauth2/token"
	}
	options := c.options
	options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: host + "/", Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
		cloud.ResourceManager: {Endpoint: c.endpoint, Audience: c.target}}}
	inner, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options, TenantID: tenant, DisableInstanceDiscovery: true})
	if err != nil {
		return err
	}
	c.inner = inner
	return nil
}

// GetToken implements azcore.TokenCredential. The scope that is asked for is the endpoint's; the stack's audience counts.
func (c *hubCredential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.Token != "" && c.last.ExpiresOn.Sub(c.now()) > 5*time.Minute {
		return c.last, nil
	}
	if err := c.discover(ctx); err != nil {
		return azcore.AccessToken{}, err
	}
	o.Scopes = []string{c.scope}
	t, err := c.inner.GetToken(ctx, o)
	// AD FS does not understand scopes as the login of Azure does: it wants to be told the resource.
	if secret := os.Getenv("AZURE_CLIENT_SECRET"); err != nil && c.token != "" && secret != "" && ctx.Err() == nil {
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {os.Getenv("AZURE_CLIENT_ID")}, "client_secret": {secret}, "resource": {c.target}}
		var answer struct {
			Token   string      `json:"access_token"`
			Expires json.Number `json:"expires_in"` // in seconds; AD FS writes a number, older ones a text
		}
		if again := c.ask(ctx, http.MethodPost, c.token, form, &answer); again != nil {
			return t, errors.Join(err, again)
		}
		seconds, _ := answer.Expires.Int64() // without it the token is asked for again
		t, err = azcore.AccessToken{Token: answer.Token, ExpiresOn: c.now().Add(time.Duration(seconds) * time.Second)}, nil
	}
	if err == nil {
		c.last = t
	}
	return t, err
}

// ask sends a request outside of Resource Manager.
func (c *hubCredential) ask(ctx context.Context, method, at string, form url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, at, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %.300s", at, resp.Status, data)
	}
	return json.Unmarshal(data, into)
}

// profile chooses by the cloud.
func (c Config) profile() profile {
	if c.Cloud != CloudHub {
		return azureProfile()
	}
	p := hubProfile()
	p.storage = cmp.Or(c.StorageVersion, p.storage)
	return p
}
