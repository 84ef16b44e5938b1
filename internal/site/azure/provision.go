package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"understudy/internal/dr"
	"understudy/internal/site"
)

var nameRule = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_])?$`)

// Provision implements site.Driver: it makes disks and network interfaces. A machine of Azure runs from the moment that
// it exists, so it is made when it is first started.
func (s *Site) Provision(ctx context.Context, q site.ProvisionRequest) error {
	return s.provision(ctx, q, func(ctx context.Context, name string, spec diskSpec) error {
		return s.makeDisk(ctx, spec, q.Sources[name])
	})
}

// provision makes a machine's disks by fill, one call for each at the same time. It is idempotent as fill is.
func (s *Site) provision(ctx context.Context, q site.ProvisionRequest, fill func(ctx context.Context, name string, spec diskSpec) error) error {
	fail := func(err error) error { return fmt.Errorf("create machine %s: %w", q.Machine.Name, err) }
	m, err := s.placed(q.Machine, q.Set)
	if err != nil {
		return fail(err)
	}
	if err := s.provisionable(m); err != nil {
		return fail(err)
	}
	defer s.alone(m.Name)()
	m.Power, m.Owner, m.Extensions = "", "", nil
	request, err := json.Marshal(m)
	if err != nil {
		return fail(err)
	}
	v, p, err := s.find(ctx, m.Name)
	switch {
	case dr.KindOf(err) == dr.KindNotFound && err != nil:
	case err != nil:
		return fail(err)
	case v != nil && (v.Tags[tagOwner] == "" || v.Tags[tagOwner] != q.Owner):
		return fail(dr.WithHint(errors.New("there is one of that name, which is another's"), dr.KindConflict, "delete it, or choose another name"))
	case v != nil:
		return nil
	case p.Owner != q.Owner:
		return fail(dr.WithHint(errors.New("it was prepared for another run"), dr.KindConflict, "delete it, or choose another name"))
	case len(p.Body) > 0 && string(p.Request) == string(request):
		return nil
	}
	tags := s.tags(q.Owner, m.Name)
	one := prepared{Owner: q.Owner, Request: request, Disks: map[string]string{}}
	for _, d := range m.Disks {
		one.Disks[d.Name] = s.compute("disks", s.diskName(m.Name, d.Name, q.Owner))
	}
	// It is known before anything of it exists: who dies in the middle leaves nothing that is not found again.
	if err := s.remember(m.Name, &one); err != nil {
		return fail(err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.width(4))
	for _, d := range m.Disks {
		g.Go(func() error {
			spec := diskSpec{id: one.Disks[d.Name], size: d.Size, zone: m.Attributes[attrZone], sku: s.can.sku(cmp.Or(d.Attributes[attrSKU], s.cfg.DiskSKU)), tags: with(tags, tagDisk, d.Name, tagSize, strconv.FormatInt(d.Size, 10))}
			if d.Name == s.osDisk(m) {
				spec.os, spec.generation = cmp.Or(m.Attributes[attrOS], "linux"), s.generation(m, d)
			}
			if err := fill(gctx, d.Name, spec); err != nil {
				return fmt.Errorf("disk %s: %w", d.Name, err)
			}
			return nil
		})
	}
	var nics []any
	g.Go(func() (err error) {
		nics, err = s.makeNICs(gctx, q, tags)
		return err
	})
	if err := g.Wait(); err != nil {
		return fail(explain(err))
	}
	if one.Body, err = json.Marshal(s.vmBody(m, one, nics, tags)); err != nil {
		return fail(err)
	}
	return s.remember(m.Name, &one)
}

// provisionable refuses what Azure cannot run.
func (s *Site) provisionable(m dr.Machine) error {
	switch {
	case !nameRule.MatchString(m.Name):
		return dr.WithHint(fmt.Errorf("%q is no name of a machine in Azure", m.Name), dr.KindInvalid, "letters, digits, '.', '_' and '-', at most 64")
	case s.cfg.Location == "":
		return dr.WithHint(errors.New("the site has no region"), dr.KindInvalid, "--set location=REGION")
	case len(m.Disks) == 0:
		return dr.WithHint(errors.New("it has no disk"), dr.KindInvalid, "")
	case m.Attributes[attrZone] != "" && !s.can.zones:
		return dr.WithHint(errors.New("an Azure Stack Hub has no zones"), dr.KindInvalid, "leave azure.zone out")
	}
	for _, d := range m.Disks {
		switch {
		case d.Role != dr.RoleDisk:
			return dr.WithHint(fmt.Errorf("disk %s is a kernel for a direct boot, which Azure has not", d.Name), dr.KindInvalid,
				"give the machine a boot loader on its first disk; understudy preflight says what else it needs")
		case d.Format != "" && d.Format != "raw" && d.Format != "qcow2" && d.Format != "vhd":
			return dr.WithHint(fmt.Errorf("disk %s: format %q is not known", d.Name, d.Format), dr.KindInvalid, "leave it out: disks of Azure have one format")
		}
	}
	for _, d := range m.Disks {
		if d.Name == s.osDisk(m) {
			return s.can.fits(m, s.generation(m, d))
		}
	}
	return nil
}

// remember keeps a prepared machine, or forgets it.
func (s *Site) remember(name string, p *prepared) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p == nil {
		delete(s.state.Prepared, name)
	} else {
		s.state.Prepared[name] = *p
	}
	return s.save()
}

func (s *Site) tags(owner, machine string) map[string]string {
	return some(map[string]string{tagOwner: owner, tagMachine: machine, tagSite: s.cfg.Name})
}

func with(tags map[string]string, pairs ...string) map[string]string {
	out := maps.Clone(tags)
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// diskName is the name of a disk of Azure: at most 80 characters.
func (s *Site) diskName(machine, name, owner string) string {
	return clip(machine+"-"+name, 56) + "-" + digest(machine+"\x00"+name+"\x00"+owner)
}

// placed settles what a machine is to be here: what was asked for, else what the site is set to, else what it was where it
// came from. Zones and availability sets are of a region.
func (s *Site) placed(m dr.Machine, set map[string]string) (dr.Machine, error) {
	m.Attributes = maps.Clone(m.Attributes)
	if m.Attributes == nil {
		m.Attributes = map[string]string{}
	}
	if _, asked := set[attrSize]; !asked {
		m.Attributes[attrSize] = s.sizeFor(m)
	}
	for key, value := range set {
		if !slices.Contains(settable, key) {
			return m, dr.WithHint(fmt.Errorf("machines of Azure have no attribute %s", key), dr.KindInvalid, "what can be set: "+strings.Join(settable, ", "))
		}
		m.Attributes[key] = value
	}
	here := sameRegion(m.Attributes[attrLocation], s.cfg.Location)
	for key, setting := range map[string]string{attrZone: s.cfg.Zone, attrAvailability: s.cfg.Availability} {
		if _, asked := set[key]; asked {
			continue
		}
		if !here || key == attrZone && !s.can.zones {
			delete(m.Attributes, key)
		}
		if setting != "" {
			m.Attributes[key] = setting
		}
	}
	m.CPUs, m.MemoryMiB = shape(m.Attributes[attrSize])
	if m.Attributes[attrZone] == "" || m.Attributes[attrAvailability] == "" {
		return m, nil
	}
	// A machine is in a zone or in a set: what was asked for wins, then what the site is set to.
	_, zone := set[attrZone]
	_, availability := set[attrAvailability]
	if zone == availability {
		zone, availability = s.cfg.Zone != "", s.cfg.Availability != ""
	}
	switch {
	case zone && !availability:
		delete(m.Attributes, attrAvailability)
	case availability && !zone:
		delete(m.Attributes, attrZone)
	default:
		return m, dr.WithHint(errors.New("a machine is in a zone or in an availability set, not in both"), dr.KindInvalid,
			fmt.Sprintf("set one of them to nothing: --set %s= or --set %s=", attrZone, attrAvailability))
	}
	return m, nil
}

// Check implements site.Checker.
func (s *Site) Check(q site.ProvisionRequest) error {
	m, err := s.placed(q.Machine, q.Set)
	if err == nil {
		err = s.provisionable(m)
	}
	return err
}

// osDisk names the disk that a machine starts from: the first one where nothing else is said.
func (s *Site) osDisk(m dr.Machine) string {
	for _, d := range m.Disks {
		if d.Attributes[attrOSDisk] == "true" {
			return d.Name
		}
	}
	return m.Disks[0].Name
}

func (s *Site) generation(m dr.Machine, d dr.Disk) string {
	if g := d.Attributes[attrGeneration]; g != "" {
		return g
	}
	if m.Boot.Firmware == "uefi" {
		return "V2"
	}
	return "V1"
}

// vmBody is what a machine is made from.
func (s *Site) vmBody(m dr.Machine, p prepared, nics []any, tags map[string]string) map[string]any {
	os := s.osDisk(m)
	storage := map[string]any{}
	data, taken := []any{}, map[int]bool{}
	for _, d := range m.Disks {
		if lun, err := strconv.Atoi(d.Attributes[attrLun]); err == nil {
			taken[lun] = true
		}
	}
	next := 0
	for _, d := range m.Disks {
		one := map[string]any{"createOption": "Attach", "managedDisk": map[string]any{"id": p.Disks[d.Name]}, "caching": cmp.Or(d.Attributes[attrCaching], "None")}
		if d.Name == os {
			one["osType"], one["caching"] = map[bool]string{true: "Windows", false: "Linux"}[m.Attributes[attrOS] == "windows"], cmp.Or(d.Attributes[attrCaching], "ReadWrite")
			storage["osDisk"] = one
			continue
		}
		lun, err := strconv.Atoi(d.Attributes[attrLun])
		if err != nil {
			for taken[next] {
				next++
			}
			lun, taken[next] = next, true
		}
		one["lun"] = lun
		data = append(data, one)
	}
	storage["dataDisks"] = data
	properties := map[string]any{
		"hardwareProfile": map[string]any{"vmSize": m.Attributes[attrSize]}, "storageProfile": storage,
		"networkProfile": map[string]any{"networkInterfaces": nics},
	}
	if s.can.diagnostics {
		properties["diagnosticsProfile"] = map[string]any{"bootDiagnostics": map[string]any{"enabled": true}}
	}
	if set := m.Attributes[attrAvailability]; set != "" {
		if !strings.HasPrefix(set, "/") {
			set = s.compute("availabilitySets", set)
		}
		properties["availabilitySet"] = map[string]any{"id": set}
	}
	if t := m.Attributes[attrSecurity]; t != "" {
		properties["securityProfile"] = map[string]any{"securityType": t}
	}
	if l := m.Attributes[attrLicense]; l != "" {
		properties["licenseType"] = l
	}
	all := maps.Clone(m.Tags)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, tags)
	out := map[string]any{"location": s.cfg.Location, "tags": all, "properties": properties}
	if z := m.Attributes[attrZone]; z != "" {
		out["zones"] = []string{z}
	}
	if id := m.Attributes[attrIdentity]; id != "" {
		out["identity"] = identityBody(id)
	}
	return out
}

// makeNICs makes the network interfaces of a machine, and describes them for it.
func (s *Site) makeNICs(ctx context.Context, q site.ProvisionRequest, tags map[string]string) ([]any, error) {
	wanted := q.Machine.NICs
	if len(wanted) == 0 {
		wanted = []dr.NIC{{}} // Azure has no machine without one
	}
	var out []any
	for i, n := range wanted {
		subnet, err := s.subnet(ctx, n, q.Isolation)
		if err != nil {
			return nil, err
		}
		ip := map[string]any{"primary": true, "subnet": map[string]any{"id": subnet}, "privateIPAllocationMethod": "Dynamic"}
		// An address that was fixed stays, where it belongs to the network.
		if a := n.Attributes[attrPrivateIP]; n.Attributes[attrAllocation] == "Static" && a != "" && s.holds(ctx, subnet, a) {
			ip["privateIPAllocationMethod"], ip["privateIPAddress"] = "Static", a
		}
		properties := map[string]any{"ipConfigurations": []any{map[string]any{"name": "ipconfig1", "properties": ip}}}
		if nsg := s.cfg.NSG; nsg != "" && q.Isolation == "" {
			if !strings.HasPrefix(nsg, "/") {
				nsg = s.network("networkSecurityGroups", nsg)
			}
			properties["networkSecurityGroup"] = map[string]any{"id": nsg}
		}
		if n.Attributes[attrAccelerated] == "true" {
			properties["enableAcceleratedNetworking"] = true
		}
		id := s.network("networkInterfaces", s.diskName(q.Machine.Name, "nic"+strconv.Itoa(i), q.Owner))
		if q.Isolation != "" {
			tags = with(tags, tagIsolated, q.Isolation)
		}
		if err := s.rest.run(ctx, call{http.MethodPut, id, nil, map[string]any{"location": s.cfg.Location, "tags": tags, "properties": properties}}, nil); err != nil {
			return nil, fmt.Errorf("network interface %d: %w", i, explain(err))
		}
		out = append(out, map[string]any{"id": id, "properties": map[string]any{"primary": i == 0}})
	}
	return out, nil
}

// subnet is the one for a network interface.
func (s *Site) subnet(ctx context.Context, n dr.NIC, isolation string) (string, error) {
	if isolation != "" {
		return s.isolated(ctx, n, isolation)
	}
	name := n.Network
	for _, key := range []string{name, ""} {
		if to, ok := s.cfg.Networks[key]; ok {
			return s.subnetID(to), nil
		}
	}
	if name != "" {
		id := s.subnetID(name)
		if err := s.rest.get(ctx, id, nil, &struct{}{}); err == nil {
			return id, nil
		}
	}
	return "", dr.WithHint(fmt.Errorf("network %q has no counterpart in %s", name, s.cfg.Name), dr.KindInvalid,
		fmt.Sprintf("say which: --set network.%s=VNET/SUBNET, or network.default=VNET/SUBNET for all", cmp.Or(name, "default")))
}

// subnetID is the ID of VNET/SUBNET.
func (s *Site) subnetID(name string) string {
	if strings.HasPrefix(name, "/subscriptions/") {
		return name
	}
	vnet, subnet, ok := strings.Cut(name, "/")
	if !ok {
		subnet = "default"
	}
	return s.network("virtualNetworks", vnet) + "/subnets/" + subnet
}

// isolatedPrefix is the addresses of an isolated network, unless it stands for one whose addresses are known.
const isolatedPrefix = "10.255.0.0/24"

// isolated makes a network that only machines of the same isolation share: nothing leaves it, and nothing enters.
func (s *Site) isolated(ctx context.Context, n dr.NIC, isolation string) (string, error) {
	prefix := isolatedPrefix
	if id := n.Attributes[attrSubnet]; id != "" {
		var known struct {
			Properties struct {
				AddressPrefix string `json:"addressPrefix"`
			} `json:"properties"`
		}
		if err := s.rest.get(ctx, id, nil, &known); err == nil && known.Properties.AddressPrefix != "" {
			prefix = known.Properties.AddressPrefix
		}
	}
	name := "understudy-" + digest(isolation+"\x00"+n.Network)
	tags := with(s.tags("", ""), tagIsolated, isolation)
	rule := func(direction, name string, priority int, access, peer string) any {
		return map[string]any{"name": name, "properties": map[string]any{"direction": direction, "priority": priority, "access": access, "protocol": "*", "sourcePortRange": "*",
			"destinationPortRange": "*", "sourceAddressPrefix": peer, "destinationAddressPrefix": peer}}
	}
	nsg := s.network("networkSecurityGroups", name)
	rules := []any{rule("Inbound", "inside-in", 100, "Allow", "VirtualNetwork"), rule("Inbound", "nothing-in", 4000, "Deny", "*"),
		rule("Outbound", "inside-out", 100, "Allow", "VirtualNetwork"), rule("Outbound", "nothing-out", 4000, "Deny", "*")}
	if err := s.rest.run(ctx, call{http.MethodPut, nsg, nil, map[string]any{"location": s.cfg.Location, "tags": tags, "properties": map[string]any{"securityRules": rules}}}, nil); err != nil {
		return "", fmt.Errorf("isolated network: %w", explain(err))
	}
	vnet := s.network("virtualNetworks", name)
	body := map[string]any{"location": s.cfg.Location, "tags": tags, "properties": map[string]any{"addressSpace": map[string]any{"addressPrefixes": []string{prefix}},
		"subnets": []any{map[string]any{"name": "default", "properties": map[string]any{"addressPrefix": prefix, "networkSecurityGroup": map[string]any{"id": nsg}}}}}}
	if err := s.rest.run(ctx, call{http.MethodPut, vnet, nil, body}, nil); err != nil {
		return "", fmt.Errorf("isolated network: %w", explain(err))
	}
	return vnet + "/subnets/default", nil
}

// Delete implements site.Driver.
func (s *Site) Delete(ctx context.Context, name string) error {
	defer s.alone(name)()
	fail := func(err error) error { return fmt.Errorf("delete machine %s: %w", name, explain(err)) }
	v, p, err := s.find(ctx, name)
	switch {
	case err != nil && dr.KindOf(err) == dr.KindNotFound:
		return nil
	case err != nil:
		return fail(err)
	case v != nil && v.Tags[tagOwner] == "":
		return fail(dr.WithHint(errors.New("it was not made by Understudy"), dr.KindConflict, "delete it with the tools of Azure, if you are sure"))
	case s.busy(name, ""):
		return fail(dr.WithHint(errors.New("a disk of it is in use"), dr.KindConflict, "wait for the copy that uses it"))
	}
	owner := ""
	if v != nil {
		owner = v.Tags[tagOwner]
		if err := s.unlock(ctx, v); err != nil {
			return fail(err)
		}
		if err := s.rest.run(ctx, call{http.MethodDelete, v.ID, nil, nil}, nil); err != nil {
			return fail(err)
		}
	} else {
		owner = p.Owner
	}
	if err := s.deleteParts(ctx, name, owner); err != nil {
		return fail(err)
	}
	return s.remember(name, nil)
}

// deleteParts deletes the disks and network interfaces of a machine that is gone, and an isolated network that nobody
// uses any more.
func (s *Site) deleteParts(ctx context.Context, machine, owner string) error {
	in, err := s.inventory(ctx)
	if err != nil {
		return err
	}
	ours := func(tags map[string]string) bool {
		return tags[tagOwner] == owner && strings.EqualFold(tags[tagMachine], machine)
	}
	isolations, used := map[string]bool{}, map[string]bool{}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(in.nics)) {
		n := in.nics[key]
		if i := n.Tags[tagIsolated]; i != "" {
			if !ours(n.Tags) {
				used[i] = true
				continue
			}
			isolations[i] = true
		}
		if ours(n.Tags) {
			errs = append(errs, s.rest.run(ctx, call{http.MethodDelete, n.ID, nil, nil}, nil))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(in.disks)) {
		if d := in.disks[key]; ours(d.Tags) {
			errs = append(errs, s.deleteDisk(ctx, d.ID))
		}
	}
	for i := range isolations {
		if !used[i] && errors.Join(errs...) == nil {
			errs = append(errs, s.deleteIsolated(ctx, i))
		}
	}
	return errors.Join(errs...)
}

func (s *Site) deleteIsolated(ctx context.Context, isolation string) error {
	for _, kind := range []string{"virtualNetworks", "networkSecurityGroups"} {
		all, err := list[nic](ctx, s.rest, s.group()+"/providers/Microsoft.Network/"+kind, nil)
		if err != nil {
			return err
		}
		for _, v := range all {
			if v.Tags[tagIsolated] == isolation {
				if err := s.rest.run(ctx, call{http.MethodDelete, v.ID, nil, nil}, nil); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
