"""The scene stays: what an edit should not have touched is given back, whatever model made the edit."""
