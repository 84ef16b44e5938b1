package sim

import "fmt"

// Kinds of what an administrator of Azure Stack Hub sees.
const (
	kindLocation = "Microsoft.Update.Admin/updateLocations/%s"
	kindUpdate   = "Microsoft.Update.Admin/updateLocations/%s/updates/%s"
	kindAlert    = "Microsoft.InfrastructureInsights.Admin/regionHealths/%s/alerts/%s"
)

// System is the resource group of a stack's own.
func (s *Sim) System(region string) string { return s.Group("System." + region) }

// Stack makes the resource group of an Azure Stack Hub in a region, and its place for updates.
func (s *Sim) Stack(region string) error {
	if err := s.Put(s.System(region), map[string]any{"location": region}); err != nil {
		return err
	}
	return s.Put(s.System(region)+"/providers/"+fmt.Sprintf(kindLocation, region), map[string]any{"properties": map[string]any{
		"state": "UpdateAvailable", "currentVersion": "1.2301.2.58"}})
}

// Update makes an update, or changes its state.
func (s *Sim) Update(region, name, version, state string) error {
	return s.Put(s.System(region)+"/providers/"+fmt.Sprintf(kindUpdate, region, name), map[string]any{"properties": map[string]any{
		"displayName": "AzS Update - " + version, "version": version, "state": state}})
}

// UpdateRun makes a run of an update, or changes it. progress is the tree of its steps, as the service writes it.
func (s *Sim) UpdateRun(region, update, run, state, duration string, progress map[string]any) error {
	return s.Put(s.System(region)+"/providers/"+fmt.Sprintf(kindUpdate, region, update)+"/updateRuns/"+run, map[string]any{"properties": map[string]any{
		"state": state, "timeStarted": "2026-11-22T10:00:00Z", "duration": duration, "progress": progress}})
}

// Alert makes an alert, or changes its state.
func (s *Sim) Alert(region, name, title, state string) error {
	return s.Put(s.System(region)+"/providers/"+fmt.Sprintf(kindAlert, region, name), map[string]any{"properties": map[string]any{
		"title": title, "state": state, "severity": "Warning", "createdTimestamp": "2026-11-22T10:00:00Z"}})
}
