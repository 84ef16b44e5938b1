package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// actions are what the identity must be allowed to do in the resource group.
var actions = []string{
	"Microsoft.Resources/subscriptions/resourceGroups/read",
	"Microsoft.Compute/virtualMachines/*",
	"Microsoft.Compute/disks/*",
	"Microsoft.Compute/snapshots/*",
	"Microsoft.Compute/availabilitySets/read",
	"Microsoft.Compute/availabilitySets/vmSizes/read",
	"Microsoft.Network/networkInterfaces/*",
	"Microsoft.Network/virtualNetworks/read",
	"Microsoft.Network/virtualNetworks/write",
	"Microsoft.Network/virtualNetworks/delete",
	"Microsoft.Network/virtualNetworks/subnets/*",
	"Microsoft.Network/networkSecurityGroups/*",
	"Microsoft.Network/publicIPAddresses/read",
	"Microsoft.Insights/dataCollectionRules/read",
	"Microsoft.Insights/dataCollectionEndpoints/read",
	"Microsoft.Insights/dataCollectionRuleAssociations/*",
	"Microsoft.Authorization/locks/*",
	"Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
}

// spared are actions that a site works without, and what is not done then.
var spared = map[string]string{
	"Microsoft.Authorization/locks/*":                                "a held machine is kept from starting by Understudy only",
	"Microsoft.Network/networkSecurityGroups/*":                      "there are no test failovers",
	"Microsoft.Network/virtualNetworks/write":                        "there are no test failovers",
	"Microsoft.Network/virtualNetworks/delete":                       "networks of test failovers stay",
	"Microsoft.Insights/dataCollectionRules/read":                    "rules of monitoring agents are not checked",
	"Microsoft.Insights/dataCollectionEndpoints/read":                "endpoints of monitoring agents are not checked",
	"Microsoft.Insights/dataCollectionRuleAssociations/*":            "rules of monitoring agents are not put back",
	"Microsoft.ManagedIdentity/userAssignedIdentities/assign/action": "identities are not put back",
	"Microsoft.Network/publicIPAddresses/read":                       "machines are not probed by public addresses",
	"Microsoft.Compute/availabilitySets/vmSizes/read":                "sizes are not checked against sets",
}

// Role implements site.Examiner: a role definition of Azure.
func (s *Site) Role() string {
	text, err := json.MarshalIndent(map[string]any{"Name": "Understudy " + s.cfg.Group, "IsCustom": true, "Description": "Replicates, recovers and clones virtual machines",
		"Actions": actions, "NotActions": []string{}, "AssignableScopes": []string{s.group()}}, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Examine implements site.Examiner.
func (s *Site) Examine(ctx context.Context) []site.Finding {
	var out []site.Finding
	add := func(check, status, remedy, format string, args ...any) {
		out = append(out, site.Finding{Check: check, Status: status, Message: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	var group struct {
		Location string `json:"location"`
	}
	if err := explain(s.rest.get(ctx, s.group(), nil, &group)); err != nil {
		add("access", site.FindingFail, cmp.Or(dr.Hint(err), "see the credentials in the controller's environment"), "%v", err)
		return out // nothing else can be found out
	}
	add("access", site.FindingOK, "", "resource group %s answers", s.cfg.Group)
	s.examineRegion(ctx, add)
	s.examineRole(ctx, add)
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Networks)) {
		label := "network " + cmp.Or(name, "default")
		id := s.subnetID(s.cfg.Networks[name])
		if err := explain(s.rest.get(ctx, id, nil, &struct{}{})); err != nil {
			add(label, site.FindingFail, "make the subnet, or name another: --set network."+cmp.Or(name, "default")+"=VNET/SUBNET", "%s: %v", s.cfg.Networks[name], err)
			continue
		}
		add(label, site.FindingOK, "", "%s is there", s.cfg.Networks[name])
	}
	if len(s.cfg.Networks) == 0 {
		add("networks", site.FindingWarn, "--set network.default=VNET/SUBNET", "none is named: machines from elsewhere cannot be recovered here")
	}
	s.examinePEP(ctx, add)
	orphans, err := s.Orphans(ctx)
	switch {
	case err != nil:
		add("orphans", site.FindingWarn, dr.Hint(err), "%v", err)
	case len(orphans) > 0:
		add("orphans", site.FindingWarn, "understudy site sweep "+s.cfg.Name, "%d things that Understudy made belong to nothing", len(orphans))
	default:
		add("orphans", site.FindingOK, "", "nothing is left over")
	}
	return out
}

type addFinding func(check, status, remedy, format string, args ...any)

// examineRegion looks whether the region is there, and how much of its quota is used.
func (s *Site) examineRegion(ctx context.Context, add addFinding) {
	if s.cfg.Location == "" {
		add("region", site.FindingWarn, "--set location=REGION", "none is set: machines can be looked at only")
		return
	}
	subscription := "/subscriptions/" + s.cfg.Subscription
	regions, err := list[struct {
		Name string `json:"name"`
	}](ctx, s.rest, subscription+"/locations", nil)
	known := slices.ContainsFunc(regions, func(r struct {
		Name string `json:"name"`
	}) bool {
		return sameRegion(r.Name, s.cfg.Location)
	})
	switch {
	case err != nil:
		add("region", site.FindingWarn, "allow Microsoft.Resources/subscriptions/locations/read at the subscription", "regions cannot be listed: %v", explain(err))
	case !known:
		add("region", site.FindingFail, "az account list-locations", "%s is no region of the subscription", s.cfg.Location)
	default:
		add("region", site.FindingOK, "", "%s", s.cfg.Location)
	}
	usages, err := list[struct {
		Current int64 `json:"currentValue"`
		Limit   int64 `json:"limit"`
		Name    struct {
			Value string `json:"value"`
		} `json:"name"`
	}](ctx, s.rest, subscription+"/providers/Microsoft.Compute/locations/"+s.cfg.Location+"/usages", nil)
	if err != nil {
		add("quota", site.FindingWarn, "allow Microsoft.Compute/locations/usages/read at the subscription", "cannot be read: %v", explain(err))
		return
	}
	for _, u := range usages {
		if u.Name.Value != "cores" || u.Limit == 0 {
			continue
		}
		if left := u.Limit - u.Current; left*5 < u.Limit {
			add("quota", site.FindingWarn, "ask for more before it is needed: a failover starts machines by the dozen", "%d of %d processors are used", u.Current, u.Limit)
			return
		}
		add("quota", site.FindingOK, "", "%d of %d processors are used", u.Current, u.Limit)
	}
}

// examineRole compares what the identity may do with what it needs.
func (s *Site) examineRole(ctx context.Context, add addFinding) {
	remedy := fmt.Sprintf("understudy site doctor %s --role > role.json; az role definition create --role-definition role.json; and assign it", s.cfg.Name)
	granted, err := list[permission](ctx, s.rest, s.group()+"/providers/Microsoft.Authorization/permissions", nil)
	if err != nil {
		add("role", site.FindingWarn, remedy, "what is allowed cannot be read: %v", explain(err))
		return
	}
	var missing, without []string
	for _, a := range actions {
		if slices.ContainsFunc(granted, func(p permission) bool { return p.allows(a) }) {
			continue
		}
		if less, ok := spared[a]; ok {
			if !slices.Contains(without, less) {
				without = append(without, less)
			}
			continue
		}
		missing = append(missing, a)
	}
	switch {
	case len(missing) > 0:
		add("role", site.FindingFail, remedy, "not allowed: %s", strings.Join(missing, ", "))
	case len(without) > 0:
		add("role", site.FindingWarn, remedy, "%s", strings.Join(without, "; "))
	default:
		add("role", site.FindingOK, "", "all %d actions are allowed", len(actions))
	}
}

type permission struct {
	Actions    []string `json:"actions"`
	NotActions []string `json:"notActions"`
}

// allows reports whether a permission covers an action, which may be a pattern itself: then nothing of it may be taken away.
func (p permission) allows(action string) bool {
	action = strings.ToLower(action)
	covered := slices.ContainsFunc(p.Actions, func(pattern string) bool { return glob(strings.ToLower(pattern), action) })
	return covered && !slices.ContainsFunc(p.NotActions, func(not string) bool { return overlap(strings.ToLower(not), action) })
}

// glob reports whether a pattern covers a text, in which * is a letter like any other.
func glob(pattern, text string) bool {
	head, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	if !strings.HasPrefix(text, head) {
		return false
	}
	for i := len(head); i <= len(text); i++ {
		if glob(rest, text[i:]) {
			return true
		}
	}
	return false
}

// overlap reports whether there is a text that two patterns cover.
func overlap(a, b string) bool {
	switch {
	case a == "" || b == "":
		return strings.Trim(a+b, "*") == ""
	case a[0] == '*':
		return overlap(a[1:], b) || overlap(a, b[1:])
	case b[0] == '*':
		return overlap(a, b[1:]) || overlap(a[1:], b)
	}
	return a[0] == b[0] && overlap(a[1:], b[1:])
}

// copyAge is how old the snapshots of a copy are when nobody goes on with it any more: a copy that failed is kept for 7 days.
const copyAge = 8 * 24 * time.Hour

// orphan is something of ours that belongs to nothing.
type orphan struct {
	id   string
	disk bool // a disk or a snapshot
}

func (s *Site) orphans(ctx context.Context) ([]orphan, error) {
	in, err := s.inventory(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	used := map[string]bool{}
	for name, p := range s.state.Prepared {
		used["machine "+strings.ToLower(name)] = true
		for _, id := range p.Disks {
			used[strings.ToLower(id)] = true
		}
	}
	for _, id := range s.state.Next {
		used[strings.ToLower(id)] = true
	}
	for _, disks := range s.state.Kept {
		for _, id := range disks {
			used[strings.ToLower(id)] = true
		}
	}
	s.mu.Unlock()
	ours := func(tags map[string]string) bool {
		return tags[tagOwner] != "" && tags[tagSite] == s.cfg.Name && !used["machine "+strings.ToLower(tags[tagMachine])]
	}
	var out []orphan
	for key, d := range in.disks {
		if d.ManagedBy == "" && ours(d.Tags) && !used[key] && in.vm(d.Tags[tagMachine]) == nil {
			out = append(out, orphan{d.ID, true})
		}
	}
	for _, n := range in.nics {
		if n.Properties.VirtualMachine.ID == "" && ours(n.Tags) && in.vm(n.Tags[tagMachine]) == nil {
			out = append(out, orphan{n.ID, false})
		}
	}
	slices.SortFunc(out, func(a, b orphan) int { return cmp.Compare(a.id, b.id) })
	more, err := s.orphansBeside(ctx, in, out)
	return append(out, more...), err
}

// orphansBeside are the snapshots of copies that nobody goes on with, and isolated networks that nothing is in but
// orphans. A network comes before its security group, so that both can be removed in this order.
func (s *Site) orphansBeside(ctx context.Context, in inventory, orphans []orphan) (out []orphan, err error) {
	snapshots, err := list[disk](ctx, s.rest, s.group()+"/providers/Microsoft.Compute/snapshots", nil)
	if err != nil {
		return nil, err
	}
	for _, d := range snapshots {
		made, err := time.Parse(time.RFC3339Nano, d.Properties.TimeCreated)
		if err == nil && d.Tags[tagCopy] != "" && d.Tags[tagSite] == s.cfg.Name && s.cfg.Now().Sub(made) > copyAge {
			out = append(out, orphan{d.ID, true})
		}
	}
	used := map[string]bool{}
	for _, n := range in.nics {
		if !slices.Contains(orphans, orphan{n.ID, false}) {
			used[n.Tags[tagIsolated]] = true
		}
	}
	for _, kind := range []string{"virtualNetworks", "networkSecurityGroups"} {
		all, err := list[nic](ctx, s.rest, s.group()+"/providers/Microsoft.Network/"+kind, nil)
		if err != nil {
			return nil, err
		}
		for _, v := range all {
			if i := v.Tags[tagIsolated]; i != "" && v.Tags[tagSite] == s.cfg.Name && !used[i] {
				out = append(out, orphan{v.ID, false})
			}
		}
	}
	return out, nil
}

// Orphans implements site.Examiner: disks and network interfaces that have the tags of this site and of a machine that is
// neither there nor prepared, snapshots of copies that were given up, and isolated networks without machines.
func (s *Site) Orphans(ctx context.Context) ([]string, error) {
	list, err := s.orphans(ctx)
	var ids []string
	for _, o := range list {
		ids = append(ids, o.id)
	}
	return ids, explain(err)
}

// RemoveOrphans implements site.Examiner.
func (s *Site) RemoveOrphans(ctx context.Context) ([]string, error) {
	list, err := s.orphans(ctx)
	if err != nil {
		return nil, explain(err)
	}
	var gone []string
	var errs []error
	for _, o := range list {
		err := s.deleteDiskOrNIC(ctx, o)
		if err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", lastName(o.id), explain(err)))
			continue
		}
		gone = append(gone, o.id)
	}
	return gone, errors.Join(errs...)
}

func (s *Site) deleteDiskOrNIC(ctx context.Context, o orphan) error {
	if o.disk {
		return s.deleteDisk(ctx, o.id)
	}
	return s.rest.run(ctx, call{"DELETE", o.id, nil, nil}, nil)
}
