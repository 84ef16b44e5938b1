package sim

import (
	"fmt"
	"net/http"
)

// Put creates or changes a resource, as if an operator had, and waits for it.
func (s *Sim) Put(id string, body map[string]any) error {
	t, ok := parse(id)
	if !ok {
		return fmt.Errorf("%s is no resource", id)
	}
	r, err := http.NewRequest(http.MethodPut, s.url+id, nil)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.putNow(r, t, body); e != nil {
		return fmt.Errorf("put %s: %w", id, e)
	}
	return nil
}

// Group is the ID of a resource group.
func (s *Sim) Group(name string) string {
	return "/subscriptions/" + s.o.Subscription + "/resourceGroups/" + name
}

// A Place is a resource group with what machines need.
type Place struct {
	Group, Region, Prefix string // Prefix of its network, such as 10.1
}

// Place makes a resource group with a network (lan/default), a data collection rule, an endpoint and a security group.
func (s *Sim) Place(p Place) error {
	group := s.Group(p.Group)
	at := map[string]any{"location": p.Region}
	with := func(properties map[string]any) map[string]any {
		return map[string]any{"location": p.Region, "properties": properties}
	}
	for _, one := range []struct {
		id   string
		body map[string]any
	}{
		{group, at},
		{group + "/providers/Microsoft.Network/networkSecurityGroups/web", with(map[string]any{})},
		{group + "/providers/Microsoft.Network/virtualNetworks/lan", with(map[string]any{
			"addressSpace": map[string]any{"addressPrefixes": []any{p.Prefix + ".0.0/16"}},
			"subnets":      []any{map[string]any{"name": "default", "properties": map[string]any{"addressPrefix": p.Prefix + ".0.0/24"}}}})},
		{group + "/providers/Microsoft.Insights/dataCollectionEndpoints/logs", with(map[string]any{})},
		{group + "/providers/Microsoft.Insights/dataCollectionRules/logs-" + p.Region, with(map[string]any{"dataSources": map[string]any{}})},
	} {
		if err := s.Put(one.id, one.body); err != nil {
			return err
		}
	}
	return nil
}

// A Machine is what a scenario makes.
type Machine struct {
	Name  string
	Place Place
	Zone  string
	Disks []int // sizes in GiB; the first is the one that it starts from
	Agent bool  // it has a monitoring agent that works
	Quiet bool  // its boot diagnostics are off
}

// Machine makes a machine that runs, and returns its ID.
func (s *Sim) Machine(m Machine) (string, error) {
	group := s.Group(m.Place.Group)
	compute, network := group+"/providers/Microsoft.Compute", group+"/providers/Microsoft.Network"
	zoned := func(body map[string]any) map[string]any {
		body["location"] = m.Place.Region
		if m.Zone != "" {
			body["zones"] = []any{m.Zone}
		}
		return body
	}
	var data []any
	for i, size := range m.Disks {
		id := fmt.Sprintf("%s/disks/%s-disk%d", compute, m.Name, i)
		properties := map[string]any{"creationData": map[string]any{"createOption": "Empty"}, "diskSizeGB": size}
		if i == 0 {
			properties["osType"], properties["hyperVGeneration"] = "Linux", "V2"
		} else {
			data = append(data, map[string]any{"lun": i - 1, "createOption": "Attach", "caching": "None", "managedDisk": map[string]any{"id": id}})
		}
		if err := s.Put(id, zoned(map[string]any{"sku": map[string]any{"name": "Premium_LRS"}, "properties": properties})); err != nil {
			return "", err
		}
	}
	nic := network + "/networkInterfaces/" + m.Name + "-nic"
	if err := s.Put(nic, map[string]any{"location": m.Place.Region, "properties": map[string]any{"ipConfigurations": []any{map[string]any{
		"name": "ipconfig1", "properties": map[string]any{"primary": true, "subnet": map[string]any{"id": network + "/virtualNetworks/lan/subnets/default"}}}}}}); err != nil {
		return "", err
	}
	id := compute + "/virtualMachines/" + m.Name
	err := s.Put(id, zoned(map[string]any{"identity": map[string]any{"type": "SystemAssigned"}, "tags": map[string]any{"app": "shop"}, "properties": map[string]any{
		"hardwareProfile": map[string]any{"vmSize": "Standard_D2s_v5"},
		"storageProfile": map[string]any{"dataDisks": data, "osDisk": map[string]any{"osType": "Linux", "createOption": "Attach", "caching": "ReadWrite",
			"managedDisk": map[string]any{"id": fmt.Sprintf("%s/disks/%s-disk0", compute, m.Name)}}},
		"networkProfile":     map[string]any{"networkInterfaces": []any{map[string]any{"id": nic, "properties": map[string]any{"primary": true}}}},
		"diagnosticsProfile": map[string]any{"bootDiagnostics": map[string]any{"enabled": !m.Quiet}}}}))
	if err != nil || !m.Agent {
		return id, err
	}
	if err := s.Put(id+"/extensions/AzureMonitorLinuxAgent", map[string]any{"location": m.Place.Region, "properties": map[string]any{"publisher": "Microsoft.Azure.Monitor",
		"type": "AzureMonitorLinuxAgent", "typeHandlerVersion": "1.33", "autoUpgradeMinorVersion": true, "enableAutomaticUpgrade": true}}); err != nil {
		return id, err
	}
	rules := group + "/providers/Microsoft.Insights/dataCollectionRules/logs-" + m.Place.Region
	if err := s.Put(id+"/providers/Microsoft.Insights/dataCollectionRuleAssociations/logs", map[string]any{"properties": map[string]any{"dataCollectionRuleId": rules}}); err != nil {
		return id, err
	}
	return id, s.Put(id+"/providers/Microsoft.Insights/dataCollectionRuleAssociations/configurationAccessEndpoint", map[string]any{
		"properties": map[string]any{"dataCollectionEndpointId": group + "/providers/Microsoft.Insights/dataCollectionEndpoints/logs"}})
}

// The places of the scenario.
var (
	ShopEast = Place{Group: "shop-east", Region: "francecentral", Prefix: "10.1"}
	ShopWest = Place{Group: "shop-west", Region: "brazilsouth", Prefix: "10.2"}
)

// Shop makes two places and, at the first, two machines that run: shop-db with two disks and shop-web with one.
func (s *Sim) Shop() error {
	for _, p := range []Place{ShopEast, ShopWest} {
		if err := s.Place(p); err != nil {
			return err
		}
	}
	for _, m := range []Machine{
		{Name: "shop-db", Place: ShopEast, Disks: []int{1, 1}, Agent: true},
		{Name: "shop-web", Place: ShopEast, Disks: []int{1}, Agent: true},
	} {
		if _, err := s.Machine(m); err != nil {
			return err
		}
	}
	return nil
}
