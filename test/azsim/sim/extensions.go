package sim

import (
	"net/http"
	"strings"
	"time"
)

// vmOf is the machine that a resource's ID is below.
func (s *Sim) vmOf(id string) *resource {
	low := strings.ToLower(id)
	for _, mark := range []string{"/extensions/", "/providers/microsoft.insights/"} {
		if i := strings.Index(low, mark); i >= 0 {
			low = low[:i]
		}
	}
	return s.resources[low]
}

func (s *Sim) putExtension(res, old *resource) *armError {
	vm := s.vmOf(res.id)
	if vm == nil {
		return refusal(http.StatusNotFound, "ParentResourceNotFound", "The parent of '%s' was not found.", res.name)
	}
	if e := s.running(res.id, "modify extensions in the VM"); e != nil {
		return e
	}
	if old != nil && old.doc.text("properties.provisioningState") == "Deleting" {
		return refusal(http.StatusConflict, "Conflict", "Operation 'PUT Extension' is not allowed on VM extension '%s' since it is marked for deletion. You can only retry the Delete operation (or wait for an ongoing one to complete).", res.name)
	}
	if res.doc.text("properties.publisher") == "" || res.doc.text("properties.type") == "" {
		return refusal(http.StatusBadRequest, "InvalidParameter", "Required parameter 'publisher' or 'type' is missing (null).")
	}
	res.doc.drop("properties.protectedSettings")
	return nil
}

// install is what an extension's creation leads to in the guest.
func (s *Sim) install(res *resource) func() (any, *armError) {
	return func() (any, *armError) {
		vm := s.vmOf(res.id)
		if vm == nil {
			return nil, notFound(res.id)
		}
		fail := func(e *armError) (any, *armError) {
			res.doc.set("properties.provisioningState", "Failed")
			return nil, e
		}
		g := s.readGuest(vm)
		full := res.doc.text("properties.publisher") + "." + res.doc.text("properties.type")
		for _, h := range g.Handlers {
			if h.Publisher+"."+h.Type == full && h.VM != vm.doc.text("properties.vmId") {
				return fail(refusal(http.StatusConflict, "VMExtensionProvisioningError", "VM has reported a failure when processing extension '%s'. Error message: \"The handler is unresponsive.\"", res.name))
			}
		}
		if strings.Contains(full, "AzureMonitor") && vm.doc.text("identity.type") == "" {
			return fail(refusal(http.StatusConflict, "VMExtensionProvisioningError", "VM has reported a failure when processing extension '%s'. Error message: \"No managed identity was found.\"", res.name))
		}
		g.Handlers[res.name] = handler{VM: vm.doc.text("properties.vmId"), Publisher: res.doc.text("properties.publisher"), Type: res.doc.text("properties.type"),
			Version: res.doc.text("properties.typeHandlerVersion"), Seen: s.o.Now()}
		s.writeGuest(vm, g)
		res.doc.set("properties.provisioningState", "Succeeded")
		return nil, nil
	}
}

// uninstall takes an extension out of the guest.
func (s *Sim) uninstall(res *resource) {
	if vm := s.vmOf(res.id); vm != nil {
		g := s.readGuest(vm)
		delete(g.Handlers, res.name)
		s.writeGuest(vm, g)
	}
}

// ghost lets DELETE reach a handler that the disk brought along and that Resource Manager has no resource for.
func (s *Sim) ghost(t target) bool {
	vm := s.vmOf(t.id)
	if t.kind != kindExtension || vm == nil {
		return false
	}
	g := s.readGuest(vm)
	for name, h := range g.Handlers {
		if strings.EqualFold(name, t.name) && h.VM != vm.doc.text("properties.vmId") {
			delete(g.Handlers, name)
			s.writeGuest(vm, g)
			return true
		}
	}
	return false
}

// beat writes down that the agents of a machine work now.
func (s *Sim) beat(vm *resource) {
	g := s.readGuest(vm)
	changed := false
	for name, h := range g.Handlers {
		if h.VM == vm.doc.text("properties.vmId") {
			h.Seen, changed = s.o.Now(), true
			g.Handlers[name] = h
		}
	}
	if changed {
		s.writeGuest(vm, g)
	}
}

func (s *Sim) putAssociation(res *resource) *armError {
	rule, endpoint := res.doc.text("properties.dataCollectionRuleId"), res.doc.text("properties.dataCollectionEndpointId")
	switch {
	case s.find(res.id[:strings.LastIndex(strings.ToLower(res.id), "/providers/")]) == nil:
		return refusal(http.StatusNotFound, "ResourceNotFound", "The resource to associate was not found.")
	case rule == "" && endpoint == "":
		return refusal(http.StatusBadRequest, "InvalidPayload", "Data collection rule or endpoint is required.")
	case rule != "" && s.find(rule) == nil, endpoint != "" && s.find(endpoint) == nil:
		return refusal(http.StatusBadRequest, "InvalidPayload", "The data collection rule or endpoint does not exist: %s%s", rule, endpoint)
	}
	return nil
}

// monitored gives resources of Azure Monitor what only the service gives.
func (s *Sim) monitored(res, old *resource) {
	now := s.o.Now().UTC().Format(time.RFC3339Nano)
	system := map[string]any{"createdAt": now, "createdBy": ClientID, "createdByType": "Application"}
	if old != nil {
		if v, ok := old.doc["systemData"].(map[string]any); ok {
			system = v
		}
	}
	system["lastModifiedAt"], system["lastModifiedBy"], system["lastModifiedByType"] = now, ClientID, "Application"
	res.doc["systemData"] = system
	at := func(service string) map[string]any {
		return map[string]any{"endpoint": "https://" + res.name + "." + normal(res.region) + "-1." + service + ".monitor.azure.com"}
	}
	switch res.kind {
	case "microsoft.insights/datacollectionrules":
		res.doc.set("properties.immutableId", "dcr-"+s.newID())
	case "microsoft.insights/datacollectionendpoints":
		res.doc.set("properties.immutableId", "dce-"+s.newID())
		res.doc.set("properties.configurationAccess", at("handler.control"))
		res.doc.set("properties.logsIngestion", at("ingest"))
		res.doc.set("properties.metricsIngestion", at("metrics.ingest"))
	}
}

// serveQuery answers queries of the Heartbeat table: a row for each machine whose monitoring agent works, is associated
// with a rule, and runs.
func (s *Sim) serveQuery(w http.ResponseWriter, r *http.Request) {
	if !s.tokens.valid(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
		s.refuse(w, refusal(http.StatusUnauthorized, "InvalidTokenError", "The access token is not valid."))
		return
	}
	query := strings.ToLower(r.URL.Query().Get("query"))
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := []any{}
	for _, key := range sortedKeys(s.guests) {
		vm := s.resources[key]
		if vm == nil || s.guests[key].power != "running" || s.down[normal(vm.region)] || strings.Contains(query, "_resourceid") && !strings.Contains(query, key) {
			continue
		}
		g, associated := s.readGuest(vm), false
		for k, a := range s.resources {
			associated = associated || a.kind == kindAssociation && strings.HasPrefix(k, key+"/") && a.doc.text("properties.dataCollectionRuleId") != ""
		}
		for _, h := range g.Handlers {
			if associated && h.VM == vm.doc.text("properties.vmId") && strings.HasPrefix(h.Type, "AzureMonitor") {
				last := h.Seen.Add(s.o.Now().Sub(h.Seen).Truncate(s.o.HeartbeatEvery))
				rows = append(rows, []any{key, last.UTC().Format(time.RFC3339Nano)})
			}
		}
	}
	s.write(w, r, answer{status: http.StatusOK, body: doc{"tables": []any{doc{"name": "PrimaryResult",
		"columns": []any{doc{"name": "_ResourceId", "type": "string"}, doc{"name": "TimeGenerated", "type": "datetime"}}, "rows": rows}}}})
}
