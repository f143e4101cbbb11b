"""The local MLflow and Prefect servers: started, watched and stopped by one command."""
