package registry

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/extension"
	"understudy/internal/site"
	"understudy/internal/site/azure"
	"understudy/internal/site/azure/pep"
)

// Settings of an azure site that begin so have a name behind it.
const (
	networkPrefix = "network."
	rulePrefix    = "dcr."
)

func azureSettings() []string {
	return []string{"subscription=ID", "location=REGION", "resource-group=NAME", "tenant=ID", "network.NAME=VNET/SUBNET (network.default for all)", "size=SIZE", "zone=N",
		"availability-set=NAME", "disk-sku=SKU", "nsg=NAME", "reach=private|public", "workspace=ID (of heartbeats)", "dcr.THEIRS=OURS (data collection rules)",
		"updates=REGION (of an Azure Stack Hub, by its administrator's endpoint)",
		"pep=HOST,HOST,HOST, with pep-user=DOMAIN\\NAME and pep-secret=env:NAME|file:/PATH (its privileged endpoint, for updates while that one does not answer)",
		"cloud=azurestack, with endpoint=https://management.REGION.FQDN and ca=FILE (an Azure Stack Hub; storage-version=DATE of its disks)",
		"cloud=public|usgov|china|custom, with endpoint, authority, audience, ca, log-endpoint (docs/azure.md)"}
}

// prepareAzure checks the settings of an azure site.
func prepareAzure(s dr.Site, o Options) (func() (site.Driver, error), error) {
	c := s.Config
	cfg := azure.Config{Name: s.Name, Dir: filepath.Join(o.Dir, azure.Provider, s.Name), Networks: map[string]string{}, Rules: map[string]string{}, Now: o.Now, Logger: o.Logger}
	var hosts, user, secret string
	fields := map[string]*string{
		"pep": &hosts, "pep-user": &user, "pep-secret": &secret,
		"subscription": &cfg.Subscription, "tenant": &cfg.Tenant, "location": &cfg.Location, "resource-group": &cfg.Group, "cloud": &cfg.Cloud, "endpoint": &cfg.Endpoint,
		"authority": &cfg.Authority, "audience": &cfg.Audience, "ca": &cfg.CA, "storage-version": &cfg.StorageVersion, "size": &cfg.Size, "zone": &cfg.Zone, "availability-set": &cfg.Availability,
		"disk-sku": &cfg.DiskSKU, "nsg": &cfg.NSG, "reach": &cfg.Reach, "workspace": &cfg.Workspace, "log-endpoint": &cfg.LogEndpoint, "updates": &cfg.Updates,
	}
	for _, key := range slices.Sorted(maps.Keys(c)) {
		field := fields[key]
		switch network, rule := strings.TrimPrefix(key, networkPrefix), strings.TrimPrefix(key, rulePrefix); {
		case field != nil:
			*field = c[key]
		case network == "default":
			cfg.Networks[""] = c[key]
		case network != key && network != "":
			cfg.Networks[network] = c[key]
		case rule != key && rule != "":
			cfg.Rules[rule] = c[key]
		case key == "poll":
			d, err := time.ParseDuration(c[key])
			if err != nil || d <= 0 {
				return nil, invalid(s, fmt.Sprintf("poll %q is no duration", c[key]), "leave it out: Azure says how long to wait")
			}
			cfg.Poll = d
		default:
			return nil, invalid(s, fmt.Sprintf("unknown setting %q", key), "an azure site has: "+strings.Join(azureSettings(), "; "))
		}
	}
	switch {
	case cfg.Subscription == "":
		return nil, invalid(s, "it has no subscription", "--set subscription=ID")
	case cfg.Group == "":
		return nil, invalid(s, "it has no resource group", "--set resource-group=NAME")
	case cfg.Cloud == "custom" && (!strings.HasPrefix(cfg.Endpoint, "https://") || !strings.HasPrefix(cfg.Authority, "https://")):
		return nil, invalid(s, "a custom cloud needs an endpoint and an authority", "--set endpoint=https://management.REGION.FQDN --set authority=https://login.FQDN/")
	case cfg.Cloud == azure.CloudHub && !strings.HasPrefix(cfg.Endpoint, "https://"):
		return nil, invalid(s, "an Azure Stack Hub needs an endpoint", "--set endpoint=https://management.REGION.FQDN")
	case cfg.Reach != "" && cfg.Reach != "private" && cfg.Reach != "public":
		return nil, invalid(s, fmt.Sprintf("reach %q is not private or public", cfg.Reach), "by which address the controller reaches machines")
	case !slices.Contains([]string{"", "public", "usgov", "china", azure.CloudHub, "custom"}, cfg.Cloud):
		return nil, invalid(s, fmt.Sprintf("cloud %q is not known", cfg.Cloud), "public, usgov, china, azurestack or custom")
	case hosts+user+secret != "" && (hosts == "" || user == "" || secret == "" || cfg.Updates == ""):
		return nil, invalid(s, "a privileged endpoint needs hosts, a user, a secret, and updates to ask of", "--set updates=REGION --set pep=HOST,HOST,HOST --set 'pep-user=DOMAIN\\cloudadmin' --set pep-secret=file:/PATH")
	case hosts != "":
		if err := extension.CheckReference(secret); err != nil {
			return nil, invalid(s, "pep-secret: "+err.Error(), "--set pep-secret=file:/PATH")
		}
		cfg.PEP = &pep.Config{Hosts: strings.FieldsFunc(hosts, func(r rune) bool { return r == ',' || r == ' ' }), User: user, Secret: func() (string, error) { return extension.Secret(secret) }, Now: o.Now}
	}
	return func() (site.Driver, error) { return azure.New(cfg) }, nil
}
