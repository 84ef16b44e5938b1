package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"understudy/internal/dr"
)

// Machines implements site.Driver. It takes three lists, however many machines there are.
func (s *Site) Machines(ctx context.Context) ([]dr.Machine, error) {
	in, err := s.inventory(ctx)
	if err != nil {
		return nil, fmt.Errorf("list machines of %s: %w", s.cfg.Group, err)
	}
	var out []dr.Machine
	for _, v := range in.vms {
		out = append(out, s.describe(v, in))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range s.state.Prepared {
		if in.vm(name) == nil {
			m, err := p.machine()
			if err != nil {
				return nil, err
			}
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b dr.Machine) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// inventory is what the resource group holds.
type inventory struct {
	vms   []vm
	disks map[string]disk // by ID in lower case
	nics  map[string]nic
}

func (i inventory) vm(name string) *vm {
	for k := range i.vms {
		if strings.EqualFold(i.vms[k].Name, name) {
			return &i.vms[k]
		}
	}
	return nil
}

func (s *Site) inventory(ctx context.Context) (in inventory, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		in.vms, err = s.listVMs(ctx)
		if s.cfg.Location != "" {
			in.vms = slices.DeleteFunc(in.vms, func(v vm) bool { return !sameRegion(v.Location, s.cfg.Location) })
		}
		return err
	})
	g.Go(func() error {
		all, err := list[disk](ctx, s.rest, s.group()+"/providers/Microsoft.Compute/disks", nil)
		in.disks = map[string]disk{}
		for _, d := range all {
			in.disks[strings.ToLower(d.ID)] = d
		}
		return err
	})
	g.Go(func() error {
		all, err := list[nic](ctx, s.rest, s.group()+"/providers/Microsoft.Network/networkInterfaces", nil)
		in.nics = map[string]nic{}
		for _, n := range all {
			in.nics[strings.ToLower(n.ID)] = n
		}
		return err
	})
	return in, explain(g.Wait())
}

// listVMs lists machines with their power states: in one question, or one for each machine where that is not known.
func (s *Site) listVMs(ctx context.Context) ([]vm, error) {
	path, expand := s.group()+"/providers/Microsoft.Compute/virtualMachines", url.Values{"$expand": {"instanceView"}}
	if s.can.viewed {
		return list[vm](ctx, s.rest, path, expand)
	}
	vms, err := list[vm](ctx, s.rest, path, nil)
	if err != nil {
		return nil, err
	}
	gone := make([]bool, len(vms))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range vms {
		g.Go(func() error {
			err := s.rest.get(ctx, path+"/"+vms[i].Name, expand, &vms[i])
			if is(err, http.StatusNotFound) { // since the list was made
				gone[i] = true
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var there []vm
	for i, v := range vms {
		if !gone[i] {
			there = append(there, v)
		}
	}
	return there, nil
}

func sameRegion(a, b string) bool {
	plain := func(t string) string { return strings.ToLower(strings.ReplaceAll(t, " ", "")) }
	return plain(a) == plain(b)
}

// vm reads one machine; nil when it does not exist.
func (s *Site) vm(ctx context.Context, name string) (*vm, error) {
	var v vm
	err := s.rest.get(ctx, s.compute("virtualMachines", name), url.Values{"$expand": {"instanceView"}}, &v)
	if is(err, 404) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at machine %s: %w", name, explain(err))
	}
	return &v, nil
}

// missing says that a machine does not exist.
func (s *Site) missing(name string) error {
	return dr.WithHint(fmt.Errorf("machine %s does not exist in %s", name, s.cfg.Group), dr.KindNotFound, "understudy machine list --site "+s.cfg.Name)
}

// find returns a machine, made or prepared: exactly one of the answers is set.
func (s *Site) find(ctx context.Context, name string) (*vm, *prepared, error) {
	v, err := s.vm(ctx, name)
	if err != nil || v != nil {
		return v, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, p := range s.state.Prepared {
		if strings.EqualFold(n, name) {
			return nil, &p, nil
		}
	}
	return nil, nil, s.missing(name)
}

var powers = map[string]dr.Power{"running": dr.PowerOn, "starting": dr.PowerOn, "stopping": dr.PowerOn, "stopped": dr.PowerOff, "deallocating": dr.PowerOff, "deallocated": dr.PowerOff}

// describe turns what Azure says of a machine into a machine.
func (s *Site) describe(v vm, in inventory) dr.Machine {
	p := v.Properties
	m := dr.Machine{Name: v.Name, Provider: Provider, Power: powers[p.InstanceView.power()], Owner: v.Tags[tagOwner], Tags: map[string]string{}, Agent: true,
		Attributes: some(map[string]string{attrID: v.ID, attrSize: p.HardwareProfile.VMSize, attrZone: first(v.Zones), attrAvailability: p.AvailabilitySet.ID,
			attrIdentity: v.Identity.text(), attrOS: strings.ToLower(p.StorageProfile.OSDisk.OSType), attrSecurity: p.SecurityProfile.SecurityType,
			attrLicense: p.LicenseType, attrGroup: s.cfg.Group, attrLocation: v.Location})}
	if m.Power == "" {
		m.Power = dr.PowerUnknown
	}
	m.CPUs, m.MemoryMiB = shape(p.HardwareProfile.VMSize)
	for k, t := range v.Tags {
		if !strings.HasPrefix(k, "understudy-") {
			m.Tags[k] = t
		}
	}
	if len(m.Tags) == 0 {
		m.Tags = nil
	}
	for i, ref := range v.disks() {
		d := in.disks[strings.ToLower(ref.ManagedDisk.ID)]
		name := "os"
		if i > 0 {
			name = "data" + strconv.Itoa(ref.Lun)
		}
		if d.Tags[tagDisk] != "" {
			name = d.Tags[tagDisk]
		}
		one := dr.Disk{Name: name, Size: d.size(), Format: "raw", Path: ref.ManagedDisk.ID,
			Attributes: some(map[string]string{attrSKU: d.SKU.Name, attrCaching: ref.Caching, attrGeneration: d.Properties.HyperVGeneration})}
		if i == 0 {
			one.Attributes[attrOSDisk] = "true"
			if d.Properties.HyperVGeneration == "V2" {
				m.Boot.Firmware = "uefi"
			}
		} else {
			one.Attributes[attrLun] = strconv.Itoa(ref.Lun)
		}
		m.Disks = append(m.Disks, one)
	}
	for i, r := range p.NetworkProfile.NetworkInterfaces {
		n, ok := in.nics[strings.ToLower(r.ID)]
		if !ok || len(n.Properties.IPConfigurations) == 0 {
			continue
		}
		c := n.Properties.IPConfigurations[0].Properties
		one := dr.NIC{Network: networkName(c.Subnet.ID), MAC: strings.ToLower(strings.ReplaceAll(n.Properties.MacAddress, "-", ":")),
			Attributes: some(map[string]string{attrSubnet: c.Subnet.ID, attrPrivateIP: c.PrivateIPAddress, attrAllocation: c.PrivateIPAllocationMethod,
				attrPublicIP: c.PublicIPAddress.ID, attrNSG: n.Properties.NSG.ID})}
		if i == 0 {
			one.Attributes[attrPrimary] = "true"
		}
		if n.Properties.Accelerated {
			one.Attributes[attrAccelerated] = "true"
		}
		m.NICs = append(m.NICs, one)
	}
	return m
}

// disks are those of a machine, the one that it starts from first.
func (v vm) disks() []vmDisk {
	return append([]vmDisk{v.Properties.StorageProfile.OSDisk}, v.Properties.StorageProfile.DataDisks...)
}

// text is an identity as an attribute.
func (i identity) text() string {
	var parts []string
	if strings.Contains(i.Type, "SystemAssigned") {
		parts = append(parts, "SystemAssigned")
	}
	return strings.Join(append(parts, slices.Sorted(maps.Keys(i.UserAssignedIdentities))...), ",")
}

// networkName is VNET/SUBNET.
func networkName(subnet string) string {
	vnet, name, ok := cutLast(subnet, "/subnets/")
	if !ok {
		return subnet
	}
	return lastName(vnet) + "/" + name
}

// some leaves out what is empty.
func some(m map[string]string) map[string]string {
	maps.DeleteFunc(m, func(_, v string) bool { return v == "" })
	return m
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// machine is a prepared machine as it was asked for.
func (p prepared) machine() (m dr.Machine, err error) {
	if err = json.Unmarshal(p.Request, &m); err != nil {
		return m, err
	}
	m.Owner, m.Power, m.Provider = p.Owner, dr.PowerOff, Provider
	for i := range m.Disks {
		m.Disks[i].Path, m.Disks[i].Format = p.Disks[m.Disks[i].Name], cmp.Or(m.Disks[i].Format, "raw")
	}
	return m, nil
}
