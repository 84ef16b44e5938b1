package sim

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

func (s *Sim) putVNet(res *resource) *armError {
	for _, sub := range res.doc.list("properties.subnets") {
		id := res.id + "/subnets/" + sub.text("name")
		d := sub.clone()
		d["id"] = id
		d.set("properties.provisioningState", "Succeeded")
		s.resources[strings.ToLower(id)] = &resource{id: id, kind: kindSubnet, name: sub.text("name"), region: res.region, doc: d, made: s.o.Now()}
	}
	return nil
}

func (s *Sim) putSubnet(res *resource) *armError {
	if s.find(res.id[:strings.LastIndex(res.id, "/subnets/")]) == nil {
		return refusal(http.StatusNotFound, "ParentResourceNotFound", "The virtual network of '%s' was not found.", res.name)
	}
	return nil
}

func (s *Sim) putNIC(res, old *resource) *armError {
	configs := res.doc.list("properties.ipConfigurations")
	if len(configs) == 0 {
		return refusal(http.StatusBadRequest, "InvalidRequestFormat", "A network interface needs an IP configuration.")
	}
	if old != nil {
		if v := old.doc.at("properties.virtualMachine"); v != nil {
			res.doc.set("properties.virtualMachine", v)
		}
		res.doc.set("properties.macAddress", old.doc.text("properties.macAddress"))
	} else {
		res.doc.set("properties.macAddress", "00-0D-3A-"+strings.ToUpper(fmt.Sprintf("%s-%s-%s", s.newID()[:2], s.newID()[:2], s.newID()[:2])))
	}
	for name, v := range map[string]any{"enableAcceleratedNetworking": false, "enableIPForwarding": false, "disableTcpStateTracking": false,
		"dnsSettings": map[string]any{"dnsServers": []any{}, "appliedDnsServers": []any{}}} {
		if res.doc.at("properties."+name) == nil {
			res.doc.set("properties."+name, v)
		}
	}
	for i, c := range configs {
		c.set("properties.provisioningState", "Succeeded")
		for name, v := range map[string]any{"primary": i == 0, "privateIPAddressVersion": "IPv4"} {
			if c.at("properties."+name) == nil {
				c.set("properties."+name, v)
			}
		}
		c["id"] = res.id + "/ipConfigurations/" + c.text("name")
		subnet := s.find(c.text("properties.subnet.id"))
		if subnet == nil {
			return refusal(http.StatusBadRequest, "InvalidResourceReference", "Resource %s referenced by resource %s was not found.", c.text("properties.subnet.id"), res.id)
		}
		if normal(subnet.region) != normal(res.region) {
			return refusal(http.StatusBadRequest, "InvalidResourceReference", "Subnet %s is in another location.", subnet.id)
		}
		want := c.text("properties.privateIPAddress")
		prefix, err := netip.ParsePrefix(subnet.doc.text("properties.addressPrefix"))
		if err != nil {
			return refusal(http.StatusBadRequest, "InvalidAddressPrefix", "Subnet %s has no address prefix.", subnet.id)
		}
		used := s.addresses(subnet.id, res.id)
		switch {
		case strings.EqualFold(c.text("properties.privateIPAllocationMethod"), "Static"):
			a, err := netip.ParseAddr(want)
			if err != nil || !prefix.Contains(a) {
				return refusal(http.StatusBadRequest, "PrivateIPAddressNotInSubnet", "Private static IP address %s does not belong to the range of subnet prefix %s.", want, prefix)
			}
			if used[want] {
				return refusal(http.StatusBadRequest, "PrivateIPAddressInUse", "Private IP address %s is already in use.", want)
			}
		case want == "" || used[want]:
			a := prefix.Masked().Addr()
			for range 4 { // the first are Azure's own
				a = a.Next()
			}
			for used[a.String()] {
				a = a.Next()
			}
			c.set("properties.privateIPAddress", a.String())
			c.set("properties.privateIPAllocationMethod", "Dynamic")
		}
	}
	return nil
}

// addresses are those in use in a subnet, other than by one network interface.
func (s *Sim) addresses(subnet, except string) map[string]bool {
	used := map[string]bool{}
	for _, res := range s.resources {
		if res.kind != kindNIC || strings.EqualFold(res.id, except) {
			continue
		}
		for _, c := range res.doc.list("properties.ipConfigurations") {
			if strings.EqualFold(c.text("properties.subnet.id"), subnet) {
				used[c.text("properties.privateIPAddress")] = true
			}
		}
	}
	return used
}
