"""What Paribus costs on a machine, as ratios side by side: how it is measured, told and drawn."""
