"""What others add: plug-ins by name, any backbone of timm's, and whether their maps lie where ours do."""
